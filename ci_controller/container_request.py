"""What a container of a job is made of: a request as a value, and the engine's JSON for it.

Pure. Invariants, each of which keeps a stranger's code in its place: nothing of the host is mounted; no
capability but those with which the runner gives files away, changes users and ends processes; no new
privileges; memory, CPU and processes bounded; the log complete (`json-file`, blocking, unbounded)
whatever the engine's defaults are; stdin closes with its first feeder.
"""

from dataclasses import dataclass
from typing import Final

from ci_common.ids import Fence, InstanceId, JobId, VolumeName
from ci_controller.container_view import (
    LABEL_ATTEMPT,
    LABEL_FENCE,
    LABEL_FRAMES,
    LABEL_INSTANCE,
    LABEL_JOB,
    LABEL_ROLE,
    LABEL_SLOT,
    Role,
)

NO_NETWORK: Final = "none"
ENVIRONMENT_PATH: Final = "/env"
CONFIG_PATH: Final = "/run/ci"
RUNNER_COMMAND: Final = ("python3", "-I", "-S", "/opt/ci/runner.py")

_CAPABILITIES = ("SETUID", "SETGID", "KILL", "CHOWN")
_CONFIG_TMPFS_BYTES = 16 << 20
_FETCH_CPU_SHARES = 256
"""Of what others want at the same time, who have 1024 each: nobody waits for what is fetched."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """How much of the machine one container may use."""

    memory_bytes: int
    cpus: float
    pids: int


@dataclass(frozen=True, slots=True)
class EnvironmentMount:
    """The volume of an environment, at `/env`."""

    volume: VolumeName
    read_only: bool


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """A container that is about to be created."""

    name: str
    image: str
    role: Role
    job_id: JobId | None
    """None for one that is started ahead of its job."""
    fence: Fence
    attempt: int
    slot: int
    limits: JobLimits
    network: str
    """`NO_NETWORK`, or the name that `ensure_network` gave."""
    environment: EnvironmentMount | None
    frames_version: int
    """Version of the frames that the image's runner writes."""


def labels_of(request: ContainerRequest, instance: InstanceId) -> dict[str, str]:
    """The labels from which a later controller knows the container again."""
    job = {} if request.job_id is None else {LABEL_JOB: request.job_id}
    return {
        LABEL_INSTANCE: instance,
        LABEL_ROLE: request.role.value,
        **job,
        LABEL_FENCE: str(request.fence),
        LABEL_ATTEMPT: str(request.attempt),
        LABEL_SLOT: str(request.slot),
        LABEL_FRAMES: str(request.frames_version),
    }


def engine_config(request: ContainerRequest, instance: InstanceId) -> dict[str, object]:
    """The body of `POST /containers/create`."""
    return {
        "Image": request.image,
        "Entrypoint": list(RUNNER_COMMAND),
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Hostname": "ci",
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": False,
        "AttachStderr": False,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "Labels": labels_of(request, instance),
        "HostConfig": _host_config(request, instance),
    }


def _host_config(request: ContainerRequest, instance: InstanceId) -> dict[str, object]:
    return {
        "NetworkMode": request.network,
        "CapDrop": ["ALL"],
        "CapAdd": list(_CAPABILITIES),
        "SecurityOpt": ["no-new-privileges"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1024g", "mode": "blocking"}},
        "RestartPolicy": {"Name": "no"},
        "Memory": request.limits.memory_bytes,
        "MemorySwap": request.limits.memory_bytes,
        "NanoCpus": round(request.limits.cpus * 1_000_000_000),
        "CpuShares": _FETCH_CPU_SHARES if request.role is Role.FETCH else 0,
        "PidsLimit": request.limits.pids,
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "Tmpfs": {CONFIG_PATH: f"rw,nosuid,nodev,noexec,mode=0755,size={_CONFIG_TMPFS_BYTES}"},
        "Mounts": [] if request.environment is None else [_mount(request.environment, instance)],
    }


def _mount(environment: EnvironmentMount, instance: InstanceId) -> dict[str, object]:
    # The engine makes a volume that isn't there; the label lets clean-up find one that came so.
    return {
        "Type": "volume",
        "Source": environment.volume,
        "Target": ENVIRONMENT_PATH,
        "ReadOnly": environment.read_only,
        "VolumeOptions": {"NoCopy": True, "Labels": {LABEL_INSTANCE: instance}},
    }
