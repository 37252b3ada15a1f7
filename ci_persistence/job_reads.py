"""Looks at jobs and their events as SQL; each function is the whole work of one read.

What is unfinished is found by a partial index, so the history behind it costs nothing; SQLite uses it
only for queries that repeat its condition.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from ci_common.errors import NotFound
from ci_common.ids import InstanceId, JobId, UserId
from ci_common.job_times import NO_TIMES, JobTimes
from ci_common.models import EventType, Job, JobEvent, JobStatus
from ci_common.repository import QueueCounts, QueuePlace
from ci_persistence import transitions
from ci_persistence.phase_times import times_of
from ci_persistence.rows import JOB_COLUMNS, JobRow, job_of, json_array

SELECT_JOB = f"SELECT {JOB_COLUMNS} FROM jobs"
UNFINISHED = "status <> 'completed'"


def instance_id(sql: sqlite3.Connection) -> InstanceId:
    """Made with the database."""
    return InstanceId(sql.execute("SELECT instance_id FROM installation").fetchone()[0])


def find_row(sql: sqlite3.Connection, job_id: JobId) -> JobRow | None:
    """One job's row."""
    row: JobRow | None = sql.execute(f"{SELECT_JOB} WHERE id = ?", (job_id,)).fetchone()
    return row


def get_row(sql: sqlite3.Connection, job_id: JobId) -> JobRow:
    """One job's row, or NotFound."""
    row = find_row(sql, job_id)
    if row is None:
        raise NotFound(f"no job has the id {job_id}")
    return row


def get_job(sql: sqlite3.Connection, job_id: JobId) -> Job:
    """One, or NotFound."""
    return job_of(get_row(sql, job_id))


def job_times(sql: sqlite3.Connection, job_id: JobId) -> JobTimes:
    """What is known; nothing of a job that doesn't exist."""
    row = find_row(sql, job_id)
    return NO_TIMES if row is None else transitions.times_shown(job_of(row), times_of(sql, row[0]))


def find_jobs(sql: sqlite3.Connection, user_id: UserId | None, prefix: str) -> Sequence[Job]:
    """At most two whose ids begin so: "g" comes behind every character of an id."""
    rows = sql.execute(
        f"{SELECT_JOB} WHERE id >= ?1 AND id < ?1 || 'g' AND (?2 IS NULL OR +user_id = ?2) "
        "ORDER BY id LIMIT 2",
        (prefix, user_id),
    ).fetchall()
    return [job_of(row) for row in rows]


def list_jobs(
    sql: sqlite3.Connection,
    user_id: UserId | None,
    limit: int,
    before: JobId | None,
    status: JobStatus | None,
) -> Sequence[Job]:
    """Newest first; NotFound where `before` isn't one of this user's."""
    conditions: list[str] = []
    values: list[str | int] = []
    if user_id is not None:
        conditions.append("user_id = ?")
        values.append(user_id)
    if status is not None:
        conditions.append("status = ?")
        values.append(status.value)
        if status is not JobStatus.COMPLETED:
            conditions.append(UNFINISHED)
    if before is not None:
        conditions.append("number < ?")
        values.append(_number_of(sql, user_id, before))
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = sql.execute(f"{SELECT_JOB} {where} ORDER BY number DESC LIMIT ?", (*values, limit)).fetchall()
    return [job_of(row) for row in rows]


def _number_of(sql: sqlite3.Connection, user_id: UserId | None, job_id: JobId) -> int:
    row = sql.execute(
        "SELECT number FROM jobs WHERE id = ?1 AND (?2 IS NULL OR user_id = ?2)", (job_id, user_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"no job has the id {job_id}")
    number: int = row[0]
    return number


def events_after(sql: sqlite3.Connection, job_id: JobId, after: int, limit_bytes: int) -> Sequence[JobEvent]:
    """The next ones, until they come to `limit_bytes`."""
    cursor = sql.execute(
        "SELECT seq, type, json FROM events WHERE job_number = (SELECT number FROM jobs WHERE id = ?) "
        "AND seq > ? ORDER BY seq",
        (job_id, after),
    )
    try:
        events: list[JobEvent] = []
        total_bytes = 0
        for seq, kind, json in cursor:
            events.append(JobEvent(seq=seq, type=EventType(kind), json=json))
            total_bytes += len(json)  # ASCII
            if total_bytes >= limit_bytes:
                break
        return events
    finally:
        cursor.close()


def last_seqs(sql: sqlite3.Connection, job_ids: Sequence[JobId]) -> Mapping[JobId, int]:
    """Of the jobs that exist."""
    rows = sql.execute(
        "SELECT id, last_seq FROM jobs WHERE id IN (SELECT value FROM json_each(?))", (json_array(job_ids),)
    ).fetchall()
    return {JobId(job_id): last_seq for job_id, last_seq in rows}


def jobs_by_id(sql: sqlite3.Connection, job_ids: Sequence[JobId]) -> Mapping[JobId, Job]:
    """Those that exist."""
    rows = sql.execute(
        f"{SELECT_JOB} WHERE id IN (SELECT value FROM json_each(?))", (json_array(job_ids),)
    ).fetchall()
    return {job.id: job for job in map(job_of, rows)}


def jobs_in_status(sql: sqlite3.Connection, status: JobStatus, limit: int | None = None) -> Sequence[Job]:
    """Unfinished ones, oldest first."""
    rows = sql.execute(
        f"{SELECT_JOB} WHERE status = ? AND {UNFINISHED} ORDER BY number LIMIT ?",
        (status.value, -1 if limit is None else limit),
    ).fetchall()
    return [job_of(row) for row in rows]


def queue_places(sql: sqlite3.Connection, job_ids: Sequence[JobId]) -> Mapping[JobId, QueuePlace]:
    """Each is counted from the one before it: all together go through the queue once."""
    asked: list[tuple[int, str, str | None]] = sql.execute(
        "SELECT number, id, waiting FROM jobs WHERE id IN (SELECT value FROM json_each(?)) "
        "AND status = 'queued'",
        (json_array(job_ids),),
    ).fetchall()
    places: dict[JobId, QueuePlace] = {}
    place = previous = 0
    for number, job_id, waiting in sorted(asked):
        place += sql.execute(
            f"SELECT count(*) FROM jobs WHERE status = 'queued' AND {UNFINISHED} "
            "AND number > ? AND number <= ?",
            (previous, number),
        ).fetchone()[0]
        previous = number
        places[JobId(job_id)] = QueuePlace(place, waiting)
    return places


def queue_counts(sql: sqlite3.Connection) -> QueueCounts:
    """By the two unfinished statuses."""
    counts: dict[str, int] = dict(
        sql.execute(f"SELECT status, count(*) FROM jobs WHERE {UNFINISHED} GROUP BY status").fetchall()
    )
    return QueueCounts(queued=counts.get("queued", 0), running=counts.get("running", 0))


def unfinished_bundle_bytes(sql: sqlite3.Connection, user_id: UserId) -> int:
    """Of one user's jobs, together."""
    query = f"SELECT coalesce(sum(bundle_bytes), 0) FROM jobs WHERE user_id = ? AND {UNFINISHED}"
    return int(sql.execute(query, (user_id,)).fetchone()[0])
