"""No query on the way of a submission, a list or a reconcile pass grows with the history.

Shown by SQLite's own plans: each statement is answered from an index that holds just what it needs.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.clock import utc_now
from ci_common.event_data import notice_data
from ci_common.ids import ContainerId, JobId, UserId
from ci_common.models import JobStatus, LogPosition, Outcome, Reason, Verdict
from ci_persistence import accounts, job_reads, job_writes, leases
from ci_persistence.connections import connect_writer
from ci_persistence.transaction import Transaction
from tests.contract.world import World, a_run, nothing

Query = Callable[[sqlite3.Connection, World, JobId], object]

QUERIES: dict[str, Query] = {
    "get_job": lambda sql, _, job_id: job_reads.get_job(sql, job_id),
    "find_jobs": lambda sql, world, job_id: job_reads.find_jobs(sql, world.user_id, job_id[:8]),
    "find_anybodys": lambda sql, _, job_id: job_reads.find_jobs(sql, None, job_id[:8]),
    "list_mine": lambda sql, world, _: _list(sql, world.user_id),
    "list_page": lambda sql, world, job_id: _list(sql, world.user_id, before=job_id),
    "list_queued": lambda sql, world, _: _list(sql, world.user_id, status=JobStatus.QUEUED),
    "list_running": lambda sql, world, _: _list(sql, world.user_id, status=JobStatus.RUNNING),
    "list_completed": lambda sql, world, _: _list(sql, world.user_id, status=JobStatus.COMPLETED),
    "list_all": lambda sql, _, job_id: _list(sql, None, before=job_id),
    "list_all_queued": lambda sql, _, __: _list(sql, None, status=JobStatus.QUEUED),
    "events_after": lambda sql, _, job_id: job_reads.events_after(sql, job_id, 1, 1 << 20),
    "last_seqs": lambda sql, _, job_id: job_reads.last_seqs(sql, [job_id]),
    "jobs_by_id": lambda sql, _, job_id: job_reads.jobs_by_id(sql, [job_id]),
    "queued_jobs": lambda sql, _, __: job_reads.jobs_in_status(sql, JobStatus.QUEUED, 10),
    "running_jobs": lambda sql, _, __: job_reads.jobs_in_status(sql, JobStatus.RUNNING),
    "queue_places": lambda sql, _, job_id: job_reads.queue_places(sql, [job_id]),
    "queue_counts": lambda sql, _, __: job_reads.queue_counts(sql),
    "unfinished_bundle_bytes": lambda sql, world, _: job_reads.unfinished_bundle_bytes(sql, world.user_id),
    "lease": lambda sql, _, __: leases.present(sql),
    "keys_with_prefix": lambda sql, _, __: accounts.keys_with_prefix(sql, "abcdefgh"),
    "record_key_use": lambda sql, world, _: accounts.record_key_use(
        Transaction(sql), [world.key_id], utc_now()
    ),
    "submit": lambda sql, world, _: job_writes.submit(Transaction(sql), world.submission(), nothing),
    "cancel_all": lambda sql, world, _: job_writes.cancel_all_of(
        Transaction(sql), world.user_id, Reason.USER_DEACTIVATED
    ),
    "add_events": lambda sql, _, job_id: job_writes.add_events(Transaction(sql), job_id, [notice_data("x")]),
}
READ_WHOLE = {
    "SCAN lease",  # one row
    "SCAN controller_inbox",  # one row
    "SCAN jobs USING COVERING INDEX jobs_unfinished",  # what is unfinished, and no more
    "SCAN json_each VIRTUAL TABLE INDEX 1:",  # the caller's own list
}


def _list(
    sql: sqlite3.Connection,
    user_id: UserId | None,
    *,
    before: JobId | None = None,
    status: JobStatus | None = None,
) -> object:
    return job_reads.list_jobs(sql, user_id, 100, before, status)


def _bind_and_append(sql: sqlite3.Connection, world: World, job_id: JobId) -> None:
    transaction = Transaction(sql)
    assert job_writes.bind_run(transaction, job_id, a_run("c1", world.fence)) is not None
    appended = job_writes.append(
        transaction,
        job_id,
        ContainerId("c1"),
        [notice_data("x")],
        LogPosition(1),
        fed=True,
        verdict=Verdict(Outcome.PASSED, 0),
        environment=None,
    )
    assert appended is not None


QUERIES["bind_and_append"] = _bind_and_append


@pytest.mark.parametrize("name", QUERIES)
async def test_every_statement_is_answered_from_an_index(world: World, db_path: Path, name: str) -> None:
    job = await world.queued()
    await world.repository.add_events(world.fence, job.id, [notice_data(str(number)) for number in range(3)])
    with closing(connect_writer(db_path)) as sql:
        statements: list[str] = []
        sql.execute("BEGIN IMMEDIATE")
        sql.set_trace_callback(statements.append)
        QUERIES[name](sql, world, job.id)
        sql.set_trace_callback(None)
        steps = [step for statement in statements for step in _plan(sql, statement)]
        sql.execute("ROLLBACK")
    assert steps or name == "submit"
    assert [step for step in steps if step.startswith("SCAN") and step not in READ_WHOLE] == []
    assert [step for step in steps if "TEMP B-TREE" in step] == []


def _plan(sql: sqlite3.Connection, statement: str) -> list[str]:
    if statement.startswith("--"):  # work of a foreign key, told as a comment
        return []
    return [detail for *_, detail in sql.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()]


async def test_reading_and_queueing_use_their_own_indexes(world: World, db_path: Path) -> None:
    del world
    expected = {
        "SELECT id FROM jobs WHERE user_id = 'u' AND number < 5 ORDER BY number DESC": "jobs_by_user",
        "SELECT id FROM jobs WHERE user_id = 'u' AND status = 'queued' AND status <> 'completed' "
        "ORDER BY number DESC": "jobs_unfinished_by_user",
        "SELECT id FROM jobs WHERE status = 'queued' AND status <> 'completed' ORDER BY number": (
            "jobs_unfinished"
        ),
    }
    with closing(connect_writer(db_path)) as sql:
        for statement, index in expected.items():
            (step,) = _plan(sql, statement)
            assert f"INDEX {index} " in step
