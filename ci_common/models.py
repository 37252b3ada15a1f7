"""Jobs, their events, users and keys: frozen values, the same in every room.

A `Job` is a snapshot of a row; changing one means asking the repository for a transition and using
what it returns. `ci_common.lifecycle` says which transitions exist.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from ci_common.ids import ContainerId, Fence, JobId, KeyId, UserId, VolumeName


class JobStatus(StrEnum):
    """Where a job stands in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"


class Outcome(StrEnum):
    """How a completed job ended."""

    PASSED = "passed"
    FAILED = "failed"
    """The tests' process ended in any way but 0, signals included."""
    ERROR = "error"
    """There is no test result: `Reason` says why."""
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    """The tests' own process was killed for memory."""
    LOST = "lost"
    """Its container was lost for reasons that aren't the job's, and retries were used up."""


class Reason(StrEnum):
    """Why a job has the outcome that it has, where the outcome alone doesn't say it."""

    INSTALL_FAILED = "install_failed"
    PYTEST_MISSING = "pytest_missing"
    DISK_LIMIT = "disk_limit"
    LOG_LIMIT = "log_limit"
    BAD_BUNDLE = "bad_bundle"
    BAD_PROJECT = "bad_project"
    """The bundle is sound, but the project can't be tested (no requirements.txt, say)."""
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    CANCELLED_BY_USER = "cancelled_by_user"
    CANCELLED_BY_ADMIN = "cancelled_by_admin"
    USER_DEACTIVATED = "user_deactivated"
    INFRASTRUCTURE = "infrastructure"


class Phase(StrEnum):
    """Which part of a job wrote a piece of output."""

    INSTALL = "install"
    TEST = "test"


class EventType(StrEnum):
    """What an event tells; clients ignore types that they don't know."""

    LOG = "log"
    STATUS = "status"
    NOTICE = "notice"
    COMPLETE = "complete"


class Stage(StrEnum):
    """Which container an attempt is in: the one that installs an environment, or the job's own."""

    INSTALL = "install"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """What a submission may ask for beside its files."""

    pytest_args: tuple[str, ...] | None = None
    """In place of `-v`; None leaves `-v`, an empty tuple means no argument at all."""
    color: bool = False
    """The user's terminal shows colours."""
    columns: int | None = None
    """Width of the user's terminal in characters."""
    fresh: bool = False
    """Ignore cached environments."""


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far a container's log has been turned into events; stored in the same transaction as they.

    `offset_bytes` counts the payload bytes of the engine's log up to the end of the last whole frame.
    `pending` are the bytes of a UTF-8 sequence that the last frame left unfinished.
    """

    offset_bytes: int = 0
    pending: bytes = b""


@dataclass(frozen=True, slots=True)
class Run:
    """The container that works on a job at present, and how far its output is stored."""

    stage: Stage
    container_id: ContainerId
    fence: Fence
    """The leadership that created the container: an older one's container is never fed."""
    environment: VolumeName | None
    """The volume with the packages, filled in stage INSTALL and mounted read-only in stage TEST."""
    position: LogPosition = LogPosition()
    fed: bool = False
    """The runner has confirmed that it holds all files."""
    environment_key: str | None = None
    """In stage INSTALL: under which key the packages will be found, once they are all there."""


@dataclass(frozen=True, slots=True)
class Job:
    """One submission and what became of it."""

    id: JobId
    user_id: UserId
    status: JobStatus
    options: SubmitOptions
    bundle_bytes: int
    """Size of the uploaded archive."""
    submit_time: datetime
    start_time: datetime | None = None
    """When it first became `running`."""
    end_time: datetime | None = None
    attempt: int = 1
    """1 at first; one more for each container that was lost."""
    outcome: Outcome | None = None
    """None until completed."""
    reason: Reason | None = None
    exit_code: int | None = None
    """That of the tests' process as a shell gives it (139 for a segfault), else None."""
    cancel_reason: Reason | None = None
    """Set as soon as somebody asked for cancellation; the outcome is then `cancelled`."""
    last_seq: int = 0
    """Number of its newest event; 0 when there is none."""
    waiting: str | None = None
    """Why the controller hasn't started it yet, where it has a reason of its own to tell."""
    run: Run | None = None
    """None while queued, between its two containers, and once completed."""
    environment: VolumeName | None = None
    """The volume that was installed for this very job; None when it found one in the cache."""

    @property
    def success(self) -> bool | None:
        """None until completed, then True only for `passed`."""
        return None if self.outcome is None else self.outcome is Outcome.PASSED


@dataclass(frozen=True, slots=True)
class Submission:
    """A job that is about to be made."""

    job_id: JobId
    user_id: UserId
    key_id: KeyId
    options: SubmitOptions
    bundle_bytes: int
    submit_time: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a job ends; a cancellation that was asked for before overrides it."""

    outcome: Outcome
    exit_code: int | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One numbered thing that happened to a job: 1, 2, 3, … without a gap, `complete` the last."""

    seq: int
    type: EventType
    json: str
    """The JSON object that a client receives, `type` included, as one line of ASCII."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may submit jobs."""

    id: UserId
    name: str
    email: str
    is_active: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class APIKey:
    """A key as it may be shown: never the key itself, nor its hash."""

    id: KeyId
    user_id: UserId
    name: str
    prefix: str
    """The first characters after `ci_`, for people to tell keys apart."""
    is_active: bool
    created_at: datetime
    last_used_at: datetime | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key with its owner and the SHA-256 of its text: what authentication compares."""

    key: APIKey
    user: User
    digest: bytes = field(repr=False)


class ControllerState(StrEnum):
    """What the leading controller is busy with, for people whose jobs wait."""

    STARTING = "starting"
    NO_ENGINE = "no_engine"
    BUILDING_IMAGE = "building_image"
    READY = "ready"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """A process, named so that a number that was given to another process can't be mistaken for it."""

    pid: int
    start_ticks: int
    """Start time of the process in clock ticks since boot, field 22 of /proc/PID/stat."""
    boot_id: str
    """/proc/sys/kernel/random/boot_id."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may change jobs and containers. A standby watches `beat`; its value means nothing else."""

    fence: Fence
    holder: LeaseHolder | None
    """None when the last leader left of its own accord."""
    beat: int
    beat_time: datetime
    """Wall clock of the last beat, for people alone."""
    state: ControllerState
    detail: str
    """One line for people beside `state`, may be empty."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Installed packages that later jobs may start from: a cache entry, deletable at any time."""

    key: str
    """SHA-256, hexadecimal, over all that decides its content; `ci_controller.environments`."""
    user_id: UserId
    volume: VolumeName
    created_at: datetime
    last_used_at: datetime
