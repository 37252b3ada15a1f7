"""The table of a job's phases: one small row a job, read and written as a whole.

A row has at most one number for each `Milestone`. Called within the transactions of `job_writes` and the
reads of `job_reads`.
"""

import json
import sqlite3
from datetime import timedelta

from ci_common.clock import from_iso, to_iso
from ci_common.job_times import NO_TIMES, JobTimes, Milestone

_MICROSECOND = timedelta(microseconds=1)
_NAMES = frozenset(Milestone)


def times_of(sql: sqlite3.Connection, job_number: int) -> JobTimes:
    """What is known of a job; nothing of one that is older than the table."""
    row = sql.execute(
        "SELECT zero, offsets_microseconds FROM phase_times WHERE job_number = ?", (job_number,)
    ).fetchone()
    if row is None:
        return NO_TIMES
    zero = from_iso(row[0])
    offsets: dict[str, int] = json.loads(row[1])
    return JobTimes(
        {Milestone(name): zero + offset * _MICROSECOND for name, offset in offsets.items() if name in _NAMES}
    )


def put_times(sql: sqlite3.Connection, job_number: int, times: JobTimes) -> None:
    """Replace what is known; `times` must hold a moment."""
    zero = min(times.moments.values())
    offsets = {name.value: (moment - zero) // _MICROSECOND for name, moment in times.moments.items()}
    sql.execute(
        "INSERT INTO phase_times (job_number, zero, offsets_microseconds) VALUES (?, ?, ?) "
        "ON CONFLICT (job_number) DO UPDATE SET "
        "zero = excluded.zero, offsets_microseconds = excluded.offsets_microseconds",
        (job_number, to_iso(zero), json.dumps(offsets, separators=(",", ":"))),
    )
