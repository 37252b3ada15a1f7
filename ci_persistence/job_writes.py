"""Changes of jobs as SQL: load, ask `transitions`, store what came back with its events, tell.

Each function runs within a transaction that somebody else began. Those that only the leading
controller may call are reached through `leases.require`.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from ci_common.bundle_store import BundleStore
from ci_common.clock import utc_now
from ci_common.errors import AlreadyExists
from ci_common.event_data import EventData
from ci_common.ids import ContainerId, JobId, UserId
from ci_common.job_times import NO_TIMES, JobTimes
from ci_common.models import Environment, Job, JobStatus, LogPosition, Reason, Run, Submission, Verdict
from ci_persistence import accounts, environments, transitions
from ci_persistence.job_reads import SELECT_JOB, UNFINISHED, find_row, get_row
from ci_persistence.phase_times import put_times, times_of
from ci_persistence.rows import JobRow, SqlValue, changeable_columns, fixed_columns, job_of
from ci_persistence.transaction import Transaction
from ci_persistence.transitions import Change

ChangeOrNone = TypeVar("ChangeOrNone", Change, Change | None)


def submit(
    transaction: Transaction,
    submission: Submission,
    publish: Callable[[], None],
    times: JobTimes = NO_TIMES,
) -> tuple[Job, bool]:
    """A new job, or the one that this submission made before."""
    sql = transaction.sql
    accounts.require_good_key(sql, submission.key_id, submission.user_id)
    row = find_row(sql, submission.job_id)
    if row is not None:
        existing = job_of(row)
        if existing.user_id != submission.user_id:
            raise AlreadyExists(f"the job id {submission.job_id} is taken")
        return existing, False
    publish()
    job = transitions.queued(submission)
    number = _insert(sql, fixed_columns(job) | changeable_columns(job))
    put_times(sql, number, transitions.times_stored(times, utc_now()))
    transaction.tell_controllers(job.id)
    transaction.tell_servers(job.id)
    return job, True


def request_cancel(transaction: Transaction, job_id: JobId, reason: Reason) -> Job:
    """Of a job that exists, or NotFound."""
    row = get_row(transaction.sql, job_id)
    return _cancel(transaction, row, reason)


def cancel_all_of(transaction: Transaction, user_id: UserId, reason: Reason) -> None:
    """Everything that the user has unfinished."""
    rows: list[JobRow] = transaction.sql.execute(
        f"{SELECT_JOB} WHERE user_id = ? AND {UNFINISHED}", (user_id,)
    ).fetchall()
    for row in rows:
        _cancel(transaction, row, reason)


def _cancel(transaction: Transaction, row: JobRow, reason: Reason) -> Job:
    job = job_of(row)
    change = transitions.request_cancel(job, reason, utc_now())
    if change.job != job:
        transaction.tell_controllers(job.id)
    return _store(transaction, row, job, change)


def bind_run(transaction: Transaction, job_id: JobId, run: Run, times: JobTimes = NO_TIMES) -> Job | None:
    """See `transitions.bind`."""
    return _change(transaction, job_id, lambda job: transitions.bind(job, run, utc_now()), times)


def append(
    transaction: Transaction,
    job_id: JobId,
    container_id: ContainerId,
    events: Sequence[EventData],
    position: LogPosition,
    *,
    fed: bool,
    verdict: Verdict | None,
    environment: Environment | None,
    times: JobTimes = NO_TIMES,
) -> Job | None:
    """See `transitions.append`; the environment's entry comes with it or not at all."""
    job = _change(
        transaction,
        job_id,
        lambda job: transitions.append(
            job,
            container_id,
            events,
            position,
            fed=fed,
            verdict=verdict,
            installed=None if environment is None else environment.volume,
            now=utc_now(),
        ),
        times,
    )
    if job is not None and environment is not None:
        environments.put(transaction.sql, environment)
    return job


def requeue(
    transaction: Transaction,
    job_id: JobId,
    container_id: ContainerId | None,
    notice: str | None,
    *,
    uses_attempt: bool,
) -> Job | None:
    """See `transitions.requeue`."""
    return _change(
        transaction,
        job_id,
        lambda job: transitions.requeue(job, container_id, notice, uses_attempt=uses_attempt, now=utc_now()),
    )


def complete(transaction: Transaction, job_id: JobId, verdict: Verdict, events: Sequence[EventData]) -> Job:
    """See `transitions.complete`; NotFound where there is no such job."""
    row = get_row(transaction.sql, job_id)
    job = job_of(row)
    return _store(transaction, row, job, transitions.complete(job, verdict, events, utc_now()))


def add_events(transaction: Transaction, job_id: JobId, events: Sequence[EventData]) -> Job:
    """See `transitions.add_events`; NotFound where there is no such job."""
    row = get_row(transaction.sql, job_id)
    job = job_of(row)
    return _store(transaction, row, job, transitions.add_events(job, events))


def set_waiting(transaction: Transaction, job_id: JobId, waiting: str | None) -> None:
    """See `transitions.set_waiting`; NotFound where there is no such job."""
    row = get_row(transaction.sql, job_id)
    job = job_of(row)
    _store(transaction, row, job, transitions.set_waiting(job, waiting))


def sweep_bundles(transaction: Transaction, bundles: BundleStore) -> int:
    """Under the write lock: no submission is between its bundle and its job."""
    deleted = 0
    for job_id in bundles.job_ids():
        row = find_row(transaction.sql, job_id)
        if row is None or job_of(row).status is JobStatus.COMPLETED:
            bundles.delete(job_id)
            deleted += 1
    return deleted


def _change(
    transaction: Transaction,
    job_id: JobId,
    decide: Callable[[Job], Change | None],
    times: JobTimes = NO_TIMES,
) -> Job | None:
    row = find_row(transaction.sql, job_id)
    if row is None:
        return None
    job = job_of(row)
    change = decide(job)
    if change is None:
        return None
    if times.moments:
        number = row[0]
        known = times_of(transaction.sql, number)
        put_times(transaction.sql, number, transitions.times_with(job, known, times))
    return _store(transaction, row, job, change)


def _store(transaction: Transaction, row: JobRow, before: Job, change: Change) -> Job:
    if change.job == before:
        return before
    number, sql = row[0], transaction.sql
    old, new = changeable_columns(before), changeable_columns(change.job)
    # Only what differs: columns of an index are dear to write, and most changes move a position alone.
    _update(sql, number, {column: value for column, value in new.items() if value != old[column]})
    sql.executemany(
        "INSERT INTO events (job_number, seq, type, json) VALUES (?, ?, ?, ?)",
        [(number, event.seq, event.type.value, event.json) for event in change.events],
    )
    transaction.tell_servers(before.id)
    return change.job


# Column names come from `rows`, never from outside.
def _update(sql: sqlite3.Connection, number: int, columns: dict[str, SqlValue]) -> None:
    assignments = ", ".join(f"{column} = ?" for column in columns)
    sql.execute(f"UPDATE jobs SET {assignments} WHERE number = ?", (*columns.values(), number))


def _insert(sql: sqlite3.Connection, columns: dict[str, SqlValue]) -> int:
    places = ", ".join("?" for _ in columns)
    cursor = sql.execute(
        f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({places})", tuple(columns.values())
    )
    assert cursor.lastrowid is not None, "an insertion makes a row"
    return cursor.lastrowid
