"""What the engine tells of a container, as a value: read from labels and state, nothing else.

Pure. Everything that the controller knows of a container after a crash is in here, so every container
of the platform carries these labels from its creation on (labels can't change later). Values that
make no sense (a newer release's, or somebody's by hand) become neutral ones, for a listing must never
fail on one container.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from ci_common.errors import InvalidInput
from ci_common.ids import ContainerId, Fence, InstanceId, JobId, parse_job_id
from ci_controller import engine_json

LABEL_INSTANCE = "ci.instance"
LABEL_ROLE = "ci.role"
LABEL_JOB = "ci.job"
LABEL_FENCE = "ci.fence"
LABEL_ATTEMPT = "ci.attempt"
LABEL_SLOT = "ci.slot"
LABEL_FRAMES = "ci.frames"


class Role(StrEnum):
    """What a container is for."""

    JOB = "job"
    """Runs a job's tests."""
    INSTALL = "install"
    """Fills an environment for a job, from its requirement files alone."""
    WARM = "warm"
    """Started ahead of its job, whichever that will be: a job may be bound to it, but its labels can't
    tell."""
    FETCH = "fetch"
    """Gets wheels for a user's next environment; belongs to no job, and runs nothing of a stranger's."""
    PROBE = "probe"
    """Short-lived: looks at the network, or closes it."""
    BUILD = "build"
    """Short-lived: becomes an image."""
    UNKNOWN = "unknown"
    """None that this release knows."""


class ContainerStatus(StrEnum):
    """The engine's words for the state of a container."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"
    UNKNOWN = "unknown"
    """None that this release knows."""

    @property
    def has_ended(self) -> bool:
        """Its process ran and runs no more."""
        return self in {ContainerStatus.EXITED, ContainerStatus.DEAD, ContainerStatus.REMOVING}


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container at one moment."""

    id: ContainerId
    name: str
    role: Role
    job_id: JobId | None
    fence: Fence
    """The leadership that created it; 0 where it bears none."""
    attempt: int
    slot: int
    """Number of the concurrent place that it holds; its processes' uid follows from it."""
    frames_version: int
    """Version of the frames that its runner writes."""
    status: ContainerStatus
    exit_code: int | None
    """Of process 1, once it has ended; a listing doesn't tell it (None), only `inspect` does."""
    oom_killed: bool
    """A process in it was killed for memory, not necessarily process 1; only `inspect` tells."""
    created_at: datetime
    error: str = ""
    """Why the engine could not start it, in the engine's words; only `inspect` tells."""


def instance_label(instance: InstanceId) -> str:
    """The label filter that selects everything of one installation."""
    return f"{LABEL_INSTANCE}={instance}"


def from_listing(entry: Mapping[str, object]) -> ContainerView:
    """A view from an entry of `GET /containers/json`."""
    names = engine_json.strings(entry, "Names")
    created = datetime.fromtimestamp(engine_json.integer(entry, "Created"), UTC)
    return _view(
        entry,
        name=names[0].removeprefix("/") if names else "",
        labels=engine_json.mapping(entry, "Labels"),
        status=engine_json.text(entry, "State"),
        created_at=created,
        state={},
    )


def from_inspection(answer: Mapping[str, object]) -> ContainerView:
    """A view from the answer to `GET /containers/ID/json`."""
    state = engine_json.mapping(answer, "State")
    return _view(
        answer,
        name=engine_json.text(answer, "Name").removeprefix("/"),
        labels=engine_json.mapping(engine_json.mapping(answer, "Config"), "Labels"),
        status=engine_json.text(state, "Status"),
        created_at=engine_json.moment(answer, "Created"),
        state=state,
    )


def _view(
    source: Mapping[str, object],
    *,
    name: str,
    labels: Mapping[str, object],
    status: str,
    created_at: datetime,
    state: Mapping[str, object],
) -> ContainerView:
    present = _status(status)
    return ContainerView(
        id=ContainerId(engine_json.text(source, "Id")),
        name=name,
        role=_role(labels),
        job_id=_job_id(labels),
        fence=Fence(_number(labels, LABEL_FENCE)),
        attempt=_number(labels, LABEL_ATTEMPT),
        slot=_number(labels, LABEL_SLOT),
        frames_version=_number(labels, LABEL_FRAMES),
        status=present,
        exit_code=engine_json.integer(state, "ExitCode") if state and present.has_ended else None,
        oom_killed=state.get("OOMKilled") is True,
        created_at=created_at,
        error=engine_json.text(state, "Error"),
    )


def _status(text: str) -> ContainerStatus:
    try:
        return ContainerStatus(text)
    except ValueError:
        return ContainerStatus.UNKNOWN


def _role(labels: Mapping[str, object]) -> Role:
    try:
        return Role(engine_json.text(labels, LABEL_ROLE))
    except ValueError:
        return Role.UNKNOWN


def _job_id(labels: Mapping[str, object]) -> JobId | None:
    try:
        return parse_job_id(engine_json.text(labels, LABEL_JOB))
    except InvalidInput:
        return None


def _number(labels: Mapping[str, object], name: str) -> int:
    text = engine_json.text(labels, name)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0
