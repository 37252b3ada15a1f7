"""What goes over the wire as JSON, in both directions."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, field_validator

from ci_common.clock import to_iso
from ci_common.errors import InvalidInput
from ci_common.job_times import JobTimes
from ci_common.models import Job, JobStatus, Outcome, Reason, SubmitOptions

_MAX_ARGUMENTS = 10_000
_MAX_ARGUMENT_BYTES = 128 * 1024 - 1
"""Linux passes no longer one to a program."""

Moment = Annotated[datetime, PlainSerializer(to_iso, return_type=str)]


class JobView(BaseModel):
    """A job as its owner sees it."""

    job_id: str
    status: JobStatus
    success: bool | None
    outcome: Outcome | None
    reason: Reason | None
    exit_code: int | None
    submit_time: Moment
    start_time: Moment | None
    end_time: Moment | None
    attempt: int
    cancel_requested: bool
    waiting: str | None = Field(description="Why the controller hasn't started it yet, where it says so.")
    last_seq: int = Field(description="Number of the newest event.")
    bundle_bytes: int

    @classmethod
    def of(cls, job: Job) -> Self:
        """The view of `job`."""
        return cls(
            job_id=job.id,
            status=job.status,
            success=job.success,
            outcome=job.outcome,
            reason=job.reason,
            exit_code=job.exit_code,
            submit_time=job.submit_time,
            start_time=job.start_time,
            end_time=job.end_time,
            attempt=job.attempt,
            cancel_requested=job.cancel_reason is not None,
            waiting=job.waiting,
            last_seq=job.last_seq,
            bundle_bytes=job.bundle_bytes,
        )


class TimedJobView(JobView):
    """… and when each phase of it began and ended."""

    timing: dict[str, Moment] = Field(
        description="The moments that are known of the last attempt, in their order."
    )

    @classmethod
    def timed(cls, job: Job, times: JobTimes) -> Self:
        """The view of `job`, `times` in their order."""
        moments = sorted(times.moments.items(), key=lambda pair: pair[1])
        timing = {milestone.value: moment for milestone, moment in moments}
        return cls(**JobView.of(job).model_dump(), timing=timing)


class MissingContents(BaseModel):
    """The answer to `POST /contents/missing`."""

    missing: list[int] = Field(description="Places of the digests in the question, counted from 0.")


class Accepted(BaseModel):
    """The answer to `POST /submit-async`."""

    job_id: str
    status: JobStatus


class UserView(BaseModel):
    """The caller."""

    id: str
    name: str
    email: str


class KeyView(BaseModel):
    """The key that the caller used."""

    id: str
    name: str
    prefix: str
    expires_at: Moment | None


class LimitsView(BaseModel):
    """What a submission may hold."""

    max_upload_bytes: int
    max_unpacked_bytes: int
    max_bundle_entries: int


class MeView(BaseModel):
    """The answer to `GET /me`."""

    user: UserView
    key: KeyView
    server_version: str
    server_time: Moment
    limits: LimitsView


class HealthView(BaseModel):
    """The answer of the health checks."""

    status: str


class Problem(BaseModel):
    """Every answer that is not a success."""

    detail: str
    code: str | None = Field(
        default=None,
        description="`contents_gone`: send all files. `too_much_unfinished`: wait for a job's end.",
    )


class _OptionsBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    pytest_args: list[str] | None = Field(default=None, max_length=_MAX_ARGUMENTS)
    color: bool = False
    columns: int | None = Field(default=None, ge=1, le=10_000)
    fresh: bool = False

    @field_validator("pytest_args")
    @classmethod
    def _can_be_passed(cls, arguments: list[str] | None) -> list[str] | None:
        for argument in arguments or ():
            if "\0" in argument:
                raise ValueError("an argument holds a NUL, which no program can be given")
            if len(argument.encode()) > _MAX_ARGUMENT_BYTES:
                raise ValueError(f"an argument is longer than {_MAX_ARGUMENT_BYTES} bytes")
        return arguments


def parse_options(raw: bytes) -> SubmitOptions:
    """The `options` part of a submission.

    Raises:
        InvalidInput: no JSON object, unknown names, or values of other types.
    """
    try:
        body = _OptionsBody.model_validate_json(raw)
    except ValidationError as error:
        raise InvalidInput(f"options: {explained(error)}") from None
    return SubmitOptions(
        pytest_args=None if body.pytest_args is None else tuple(body.pytest_args),
        color=body.color,
        columns=body.columns,
        fresh=body.fresh,
    )


def explained(error: ValidationError) -> str:
    """What is wrong, in one line; the values themselves are left out, for they may be long or secret."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(fault_line(fault["loc"], fault["msg"]) for fault in faults[:5])


def fault_line(location: tuple[int | str, ...], message: str) -> str:
    """One fault with the place where it is; names come from strangers and are escaped."""
    place = ".".join(ascii(str(part))[1:-1][:100] for part in location)
    return f"{place}: {message}" if place else message
