import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import filling
from ci_common.clock import utc_now
from ci_common.event_data import notice_data
from ci_common.ids import JobId, new_job_id
from ci_common.models import JobStatus, LeaseHolder, Outcome, Submission, SubmitOptions, Verdict
from ci_persistence.sqlite_repository import SQLiteJobRepository


def _ignore(_: str) -> None:
    """Nobody wants to know."""


async def _with_job(database: Path, *, finished: bool) -> JobId:
    repository = SQLiteJobRepository(database)
    await repository.initialize()
    try:
        user = await repository.create_user("Ada", "ada@example.com")
        key = await repository.create_key(user.id, "laptop", "prefix", b"digest", None)
        submission = Submission(new_job_id(), user.id, key.id, SubmitOptions(), 100, utc_now())
        await repository.submit(submission, lambda: None)
        lease = await repository.take_lease(LeaseHolder(1, 1, "boot"), None)
        await repository.add_events(lease.fence, submission.job_id, [notice_data("one"), notice_data("two")])
        if finished:
            await repository.complete(lease.fence, submission.job_id, Verdict(Outcome.PASSED, exit_code=0))
        return submission.job_id
    finally:
        await repository.close()


async def _listed(database: Path) -> list[tuple[JobId, JobStatus, list[int]]]:
    repository = SQLiteJobRepository(database)
    await repository.initialize()
    try:
        found: list[tuple[JobId, JobStatus, list[int]]] = []
        for job in await repository.list_jobs(None, 1000):
            events = await repository.events_after(job.id, 0)
            assert job.last_seq == len(events)
            found.append((job.id, job.status, [event.seq for event in events]))
        return found
    finally:
        await repository.close()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "ci.db"


def test_copies_of_a_finished_job_are_finished_jobs(database: Path) -> None:
    job_id = asyncio.run(_with_job(database, finished=True))
    filling.add_copies(database, job_id, 12, _ignore)
    listed = asyncio.run(_listed(database))
    assert len({found for found, _, _ in listed}) == 13
    assert {status for _, status, _ in listed} == {JobStatus.COMPLETED}


def test_a_copy_can_have_more_events_than_the_job_that_it_is_of(database: Path) -> None:
    job_id = asyncio.run(_with_job(database, finished=True))
    filling.add_copies(database, job_id, 3, _ignore, events=5)
    listed = asyncio.run(_listed(database))
    assert [seqs for found, _, seqs in listed if found != job_id] == [[1, 2, 3, 4, 5]] * 3
    with closing(sqlite3.connect(database)) as sql:
        last = {kind for (kind,) in sql.execute("SELECT type FROM events WHERE seq = 5")}
    assert last == {"complete"}


def test_what_waits_can_be_taken_out_again(database: Path) -> None:
    job_id = asyncio.run(_with_job(database, finished=False))
    filling.add_copies(database, job_id, 7, _ignore)
    assert len(asyncio.run(_listed(database))) == 8
    filling.remove_queued(database)
    assert asyncio.run(_listed(database)) == []
