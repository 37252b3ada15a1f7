"""Rows and the domain's values, turned into each other; the only place that knows columns' order.

Times are stored as text (`ci_common.clock`), flags as 0 and 1, options as JSON.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from ci_common.clock import from_iso, to_iso
from ci_common.ids import ContainerId, Fence, JobId, KeyId, UserId, VolumeName
from ci_common.models import (
    APIKey,
    ControllerState,
    Environment,
    Job,
    JobStatus,
    Lease,
    LeaseHolder,
    LogPosition,
    Outcome,
    Reason,
    Run,
    Stage,
    StoredKey,
    SubmitOptions,
    User,
)

SqlValue = str | int | bytes | None

USER_COLUMNS = "users.id, users.name, users.email, users.is_active, users.created_at"
KEY_COLUMNS = (
    "api_keys.id, api_keys.user_id, api_keys.name, api_keys.prefix, api_keys.is_active, "
    "api_keys.created_at, api_keys.last_used_at, api_keys.expires_at, api_keys.digest"
)
JOB_COLUMNS = (
    "number, id, user_id, status, options, bundle_bytes, submit_time, start_time, end_time, attempt, "
    "outcome, reason, exit_code, cancel_reason, last_seq, waiting, environment, run_stage, "
    "run_container_id, run_fence, run_environment, run_offset_bytes, run_pending, run_fed, "
    "run_environment_key"
)
ENVIRONMENT_COLUMNS = "key, user_id, volume, created_at, last_used_at"
LEASE_COLUMNS = "fence, pid, start_ticks, boot_id, beat, beat_time, state, detail"

UserRow = tuple[str, str, str, int, str]
KeyRow = tuple[str, str, str, str, int, str, str | None, str | None, bytes]
StoredKeyRow = tuple[
    str, str, str, str, int, str, str | None, str | None, bytes, str, str, str, int, str
]  # of a key and its user
JobRow = tuple[
    int, str, str, str, str, int, str, str | None, str | None, int,
    str | None, str | None, int | None, str | None, int, str | None, str | None, str | None,
    str | None, int | None, str | None, int | None, bytes | None, int | None, str | None,
]  # fmt: skip
EnvironmentRow = tuple[str, str, str, str, str]
LeaseRow = tuple[int, int | None, int | None, str | None, int, str, str, str]


def user_of(row: UserRow) -> User:
    """From `USER_COLUMNS`."""
    user_id, name, email, is_active, created_at = row
    return User(
        id=UserId(user_id), name=name, email=email, is_active=bool(is_active), created_at=from_iso(created_at)
    )


def key_of(row: KeyRow) -> APIKey:
    """From `KEY_COLUMNS`."""
    key_id, user_id, name, prefix, is_active, created_at, last_used_at, expires_at, _ = row
    return APIKey(
        id=KeyId(key_id),
        user_id=UserId(user_id),
        name=name,
        prefix=prefix,
        is_active=bool(is_active),
        created_at=from_iso(created_at),
        last_used_at=moment_of(last_used_at),
        expires_at=moment_of(expires_at),
    )


def stored_key_of(row: StoredKeyRow) -> StoredKey:
    """From `KEY_COLUMNS` and `USER_COLUMNS` behind them."""
    return StoredKey(key=key_of(row[:9]), user=user_of(row[9:]), digest=row[8])


def job_of(row: JobRow) -> Job:
    """From `JOB_COLUMNS`."""
    (
        _, job_id, user_id, status, options, bundle_bytes, submit_time, start_time, end_time, attempt,
        outcome, reason, exit_code, cancel_reason, last_seq, waiting, environment, *_,
    ) = row  # fmt: skip
    return Job(
        id=JobId(job_id),
        user_id=UserId(user_id),
        status=JobStatus(status),
        options=_options_of(options),
        bundle_bytes=bundle_bytes,
        submit_time=from_iso(submit_time),
        start_time=moment_of(start_time),
        end_time=moment_of(end_time),
        attempt=attempt,
        outcome=None if outcome is None else Outcome(outcome),
        reason=None if reason is None else Reason(reason),
        exit_code=exit_code,
        cancel_reason=None if cancel_reason is None else Reason(cancel_reason),
        last_seq=last_seq,
        waiting=waiting,
        environment=_volume_of(environment),
        run=_run_of(row),
    )


def changeable_columns(job: Job) -> dict[str, SqlValue]:
    """What may change of a job after it was made, by column."""
    run = job.run
    return {
        "status": job.status.value,
        "start_time": text_of(job.start_time),
        "end_time": text_of(job.end_time),
        "attempt": job.attempt,
        "outcome": _word(job.outcome),
        "reason": _word(job.reason),
        "exit_code": job.exit_code,
        "cancel_reason": _word(job.cancel_reason),
        "last_seq": job.last_seq,
        "waiting": job.waiting,
        "environment": job.environment,
        "run_stage": None if run is None else run.stage.value,
        "run_container_id": None if run is None else run.container_id,
        "run_fence": None if run is None else run.fence,
        "run_environment": None if run is None else run.environment,
        "run_offset_bytes": None if run is None else run.position.offset_bytes,
        "run_pending": None if run is None else run.position.pending,
        "run_fed": None if run is None else int(run.fed),
        "run_environment_key": None if run is None else run.environment_key,
    }


def fixed_columns(job: Job) -> dict[str, SqlValue]:
    """What stays of a job as it was made, by column."""
    return {
        "id": job.id,
        "user_id": job.user_id,
        "options": _options_text(job.options),
        "bundle_bytes": job.bundle_bytes,
        "submit_time": to_iso(job.submit_time),
    }


def environment_of(row: EnvironmentRow) -> Environment:
    """From `ENVIRONMENT_COLUMNS`."""
    key, user_id, volume, created_at, last_used_at = row
    return Environment(
        key=key,
        user_id=UserId(user_id),
        volume=VolumeName(volume),
        created_at=from_iso(created_at),
        last_used_at=from_iso(last_used_at),
    )


def lease_of(row: LeaseRow) -> Lease:
    """From `LEASE_COLUMNS`."""
    fence, pid, start_ticks, boot_id, beat, beat_time, state, detail = row
    holder = None
    if pid is not None and start_ticks is not None and boot_id is not None:
        holder = LeaseHolder(pid=pid, start_ticks=start_ticks, boot_id=boot_id)
    return Lease(
        fence=Fence(fence),
        holder=holder,
        beat=beat,
        beat_time=from_iso(beat_time),
        state=ControllerState(state),
        detail=detail,
    )


def moment_of(text: str | None) -> datetime | None:
    """A stored time, where there is one."""
    return None if text is None else from_iso(text)


def text_of(moment: datetime | None) -> str | None:
    """A time as it is stored, where there is one."""
    return None if moment is None else to_iso(moment)


def json_array(texts: Iterable[str]) -> str:
    """For `IN (SELECT value FROM json_each(?))`: any number of values as one parameter."""
    return json.dumps(list(texts))


def _run_of(row: JobRow) -> Run | None:
    *_, stage, container_id, fence, environment, offset_bytes, pending, fed, environment_key = row
    if container_id is None:
        return None
    assert stage is not None, "a run's columns are set together"
    assert fence is not None, "a run's columns are set together"
    assert offset_bytes is not None, "a run's columns are set together"
    return Run(
        stage=Stage(stage),
        container_id=ContainerId(container_id),
        fence=Fence(fence),
        environment=_volume_of(environment),
        position=LogPosition(offset_bytes=offset_bytes, pending=pending or b""),
        fed=bool(fed),
        environment_key=environment_key,
    )


def _word(member: StrEnum | None) -> str | None:
    return None if member is None else member.value


def _volume_of(text: str | None) -> VolumeName | None:
    return None if text is None else VolumeName(text)


def _options_text(options: SubmitOptions) -> str:
    return json.dumps(
        {
            "pytest_args": options.pytest_args,
            "color": options.color,
            "columns": options.columns,
            "fresh": options.fresh,
        }
    )


@lru_cache(maxsize=64)
def _options_of(text: str) -> SubmitOptions:
    # A job's row is read with each line that it prints, and its options never change.
    stored = json.loads(text)
    arguments: list[str] | None = stored["pytest_args"]
    return SubmitOptions(
        pytest_args=None if arguments is None else tuple(arguments),
        color=stored["color"],
        columns=stored["columns"],
        fresh=stored["fresh"],
    )
