"""What each request makes of a job, pure: the job as it is afterwards and the events that tell of it.

Every implementation of the repository loads a job, asks here, and stores what comes back in the same
transaction; so the rules are written, and tested, once. Invariants: statuses change only as
`ci_common.lifecycle` allows; events are numbered on from the job's last without a gap; `complete` is
the last event and comes with the change that completes the job; a cancellation that was asked for
overrides any verdict; only a running job has a container.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ci_common.event_data import EventData, complete_data_of, notice_data, status_data
from ci_common.ids import ContainerId, VolumeName
from ci_common.job_times import JobTimes, Milestone
from ci_common.lifecycle import may_follow
from ci_common.models import (
    EventType,
    Job,
    JobEvent,
    JobStatus,
    LogPosition,
    Outcome,
    Reason,
    Run,
    Stage,
    Submission,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Change:
    """A job afterwards, and the events to store with it."""

    job: Job
    events: tuple[JobEvent, ...] = ()


def times_stored(times: JobTimes, now: datetime) -> JobTimes:
    """What is known of a new job's phases."""
    return times.with_moment(Milestone.STORED, now)


def times_with(job: Job, known: JobTimes, later: JobTimes) -> JobTimes:
    """What is known of the phases of `job`, which is as it was before the change that brings `later`."""
    return (known.of_submission() if job.status is JobStatus.QUEUED else known).with_later(later)


def times_shown(job: Job, known: JobTimes) -> JobTimes:
    """`known` with the end that the job itself tells."""
    return known.with_moment(Milestone.COMPLETED, job.end_time)


def queued(submission: Submission) -> Job:
    """The job that a submission makes."""
    return Job(
        id=submission.job_id,
        user_id=submission.user_id,
        status=JobStatus.QUEUED,
        options=submission.options,
        bundle_bytes=submission.bundle_bytes,
        submit_time=submission.submit_time,
    )


def bind(job: Job, run: Run, now: datetime) -> Change | None:
    """The container of `run` works on the job; None where the job doesn't want it any more."""
    if job.status is JobStatus.COMPLETED or job.cancel_reason is not None:
        return None
    if job.run is not None:
        return Change(job) if job.run.container_id == run.container_id else None
    if job.status is JobStatus.RUNNING:
        return Change(replace(job, run=run))
    started = replace(_moved(job, JobStatus.RUNNING), run=run, start_time=job.start_time or now, waiting=None)
    return _told(started, [status_data(JobStatus.RUNNING)])


def append(
    job: Job,
    container_id: ContainerId,
    events: Sequence[EventData],
    position: LogPosition,
    *,
    fed: bool,
    verdict: Verdict | None,
    installed: VolumeName | None,
    now: datetime,
) -> Change | None:
    """A container's log has brought this; None where the job is not bound to it."""
    run = job.run
    if run is None or run.container_id != container_id:
        return None
    assert position.offset_bytes >= run.position.offset_bytes, "a log is read forwards"
    assert verdict is None or installed is None, "what is installed is not tested yet"
    assert installed is None or run.stage is Stage.INSTALL, "only stage install makes environments"
    if verdict is not None:
        return _completed(job, verdict, events, now)
    if installed is not None:
        return _told(replace(job, run=None, environment=installed), events)
    return _told(replace(job, run=replace(run, position=position, fed=run.fed or fed)), events)


def requeue(
    job: Job, container_id: ContainerId | None, notice: str | None, *, uses_attempt: bool, now: datetime
) -> Change | None:
    """The container is lost: the job waits for another; None where it is not bound to this one."""
    bound_to = None if job.run is None else job.run.container_id
    if job.status is not JobStatus.RUNNING or bound_to != container_id:
        return None
    events: list[EventData] = [] if notice is None else [notice_data(notice)]
    if job.cancel_reason is not None:
        return _completed(job, Verdict(Outcome.CANCELLED, reason=job.cancel_reason), events, now)
    # What was installed for it may be what was lost: the cache is asked anew.
    waits = replace(
        _moved(job, JobStatus.QUEUED),
        run=None,
        environment=None,
        attempt=job.attempt + 1 if uses_attempt else job.attempt,
    )
    return _told(waits, [*events, status_data(JobStatus.QUEUED)])


def complete(job: Job, verdict: Verdict, events: Sequence[EventData], now: datetime) -> Change:
    """The job ends; a completed one stays as it is."""
    if job.status is JobStatus.COMPLETED:
        return Change(job)
    return _completed(job, verdict, events, now)


def add_events(job: Job, events: Sequence[EventData]) -> Change:
    """Notices; nothing follows the last event of a completed job."""
    if job.status is JobStatus.COMPLETED:
        return Change(job)
    return _told(job, events)


def request_cancel(job: Job, reason: Reason, now: datetime) -> Change:
    """Queued: it ends here. Running: it is marked, by the first who asks. Completed: nothing."""
    match job.status:
        case JobStatus.QUEUED:
            return _completed(job, Verdict(Outcome.CANCELLED, reason=reason), (), now)
        case JobStatus.RUNNING:
            return Change(replace(job, cancel_reason=job.cancel_reason or reason))
        case JobStatus.COMPLETED:
            return Change(job)


def set_waiting(job: Job, waiting: str | None) -> Change:
    """Why it isn't started yet: told of queued jobs alone."""
    return Change(replace(job, waiting=waiting) if job.status is JobStatus.QUEUED else job)


def _completed(job: Job, verdict: Verdict, events: Sequence[EventData], now: datetime) -> Change:
    if job.cancel_reason is not None:
        verdict = Verdict(Outcome.CANCELLED, reason=job.cancel_reason)
    ended = replace(
        _moved(job, JobStatus.COMPLETED),
        run=None,
        waiting=None,
        end_time=now,
        outcome=verdict.outcome,
        exit_code=verdict.exit_code,
        reason=verdict.reason,
    )
    return _told(ended, [*events, complete_data_of(ended)])


def _moved(job: Job, status: JobStatus) -> Job:
    assert may_follow(job.status, status), f"job {job.id} can't go from {job.status} to {status}"
    return replace(job, status=status)


def _told(job: Job, events: Sequence[EventData]) -> Change:
    numbered = tuple(
        JobEvent(seq=seq, type=EventType(str(data["type"])), json=_line(data))
        for seq, data in enumerate(events, start=job.last_seq + 1)
    )
    return Change(replace(job, last_seq=job.last_seq + len(numbered)), numbered)


def _line(data: EventData) -> str:
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))
