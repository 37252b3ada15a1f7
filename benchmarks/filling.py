"""Fills an installation's database with jobs that were never run, by SQL, as copies of a real one.

Copies, so that a row has whatever columns the schema of the day has. In batches, each a transaction of its
own, because controller and server go on working; the write-ahead log is left to the controller.
"""

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

_BATCH_JOBS = 5_000
_BUSY_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
_WAL_LIMIT_BYTES = 64 << 20

_NEW_ID = (
    "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-a' "
    "|| substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))"
)


def add_copies(
    database: Path, job_id: str, count: int, tell: Callable[[str], None], events: int | None = None
) -> None:
    """`count` jobs like `job_id`, each with its events, or with `events` of them, the last one last."""
    with _connected(database) as sql:
        template = sql.execute("SELECT number, last_seq FROM jobs WHERE id = ?", (job_id,)).fetchone()
        number, last_seq = int(template[0]), int(template[1])
        sources = _sources(last_seq, last_seq if events is None else events)
        first = int(sql.execute("SELECT max(number) FROM jobs").fetchone()[0]) + 1
        for start in range(first, first + count, _BATCH_JOBS):
            end = min(start + _BATCH_JOBS, first + count)
            sql.execute("BEGIN IMMEDIATE")
            _copy_job(sql, number, start, end, len(sources))
            for seq, source in enumerate(sources, start=1):
                _copy_event(sql, number, source, seq, start, end)
            sql.execute("COMMIT")
            if (end - first) % (20 * _BATCH_JOBS) == 0:
                tell(f"{end - first} jobs are in the database")
            _let_others(database)


def remove_queued(database: Path) -> None:
    """Take out all that waits, so that nothing of it is ever started."""
    with _connected(database) as sql:
        sql.execute("BEGIN IMMEDIATE")
        queued = "(SELECT number FROM jobs WHERE status = 'queued' AND status <> 'completed')"
        sql.execute(f"DELETE FROM events WHERE job_number IN {queued}")
        sql.execute(f"DELETE FROM jobs WHERE number IN {queued}")
        sql.execute("COMMIT")


@contextmanager
def _connected(database: Path) -> Generator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, timeout=_BUSY_SECONDS, isolation_level=None)) as sql:
        sql.execute("PRAGMA wal_autocheckpoint = 0")
        sql.execute("PRAGMA cache_size = -262144")
        sql.execute("PRAGMA synchronous = OFF")
        yield sql


def _sources(last_seq: int, events: int) -> list[int]:
    """Which of the template's events become those of a copy."""
    if events == last_seq:
        return list(range(1, last_seq + 1))
    assert last_seq > 1, "there is an event to repeat before the last one"
    return [*(number % (last_seq - 1) + 1 for number in range(events - 1)), last_seq]


def _columns(sql: sqlite3.Connection, table: str, **replaced: str) -> tuple[str, str]:
    """The table's columns, and what a copy has in each."""
    names = [str(row[1]) for row in sql.execute(f"PRAGMA table_info({table})")]
    return ", ".join(names), ", ".join(replaced.get(name, f"old.{name}") for name in names)


def _copy_job(sql: sqlite3.Connection, number: int, start: int, end: int, events: int) -> None:
    names, values = _columns(sql, "jobs", number="series.n", id=_NEW_ID, last_seq=str(events))
    sql.execute(
        f"{_SERIES} INSERT INTO jobs ({names}) SELECT {values} FROM series, jobs AS old WHERE old.number = ?",
        (start, end, number),
    )


def _copy_event(sql: sqlite3.Connection, number: int, source: int, seq: int, start: int, end: int) -> None:
    names, values = _columns(sql, "events", job_number="series.n", seq=str(seq))
    sql.execute(
        f"{_SERIES} INSERT INTO events ({names}) SELECT {values} FROM series, events AS old "
        "WHERE old.job_number = ? AND old.seq = ?",
        (start, end, number, source),
    )


_SERIES = "WITH RECURSIVE series (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM series WHERE n + 1 < ?)"


def _let_others(database: Path) -> None:
    """The controller must get to moving the write-ahead log into the database."""
    wal = database.with_name(database.name + "-wal")
    time.sleep(_PAUSE_SECONDS)
    deadline = time.monotonic() + _BUSY_SECONDS
    while wal.exists() and wal.stat().st_size > _WAL_LIMIT_BYTES and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
