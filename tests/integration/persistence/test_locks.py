"""Several processes on one database: who waits for whom, and that nothing is lost by it."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.errors import StorageBusy, StorageFull
from ci_common.models import Outcome, Verdict
from ci_persistence import writer
from ci_persistence.database_file import FileKind, kind_of, wal_bytes
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.contract.world import World, line, nothing
from tests.integration.persistence.child import Child

StartChild = Callable[[], Child]


async def test_writes_wait_for_another_process(world: World, start_child: StartChild) -> None:
    job, second = await world.running("c1"), await world.queued()
    child = start_child()
    assert child.do("lock") == "held"

    append = asyncio.create_task(world.append(job.id, [line("during")], 1))
    submit = asyncio.create_task(world.repository.submit(world.submission(), nothing))
    # Reads go on meanwhile, and what is written is not yet there.
    for _ in range(20):
        assert (await world.repository.get_job(job.id)).last_seq == 1
    assert not append.done()
    assert not submit.done()

    assert child.do("release") == "done"
    await asyncio.gather(append, submit)
    ended = await world.repository.complete(world.fence, job.id, Verdict(Outcome.PASSED, 0))
    assert await world.told_types(ended.id) == ["status", "log", "complete"]
    queued = await world.repository.queued_jobs(9)
    assert [job.id for job in queued] == [second.id, submit.result()[0].id]


async def test_a_lock_that_is_held_too_long_is_told(
    world: World, db_path: Path, start_child: StartChild
) -> None:
    child = start_child()
    impatient = SQLiteJobRepository(db_path, busy_seconds=0.3)
    await impatient.initialize()
    assert child.do("lock") == "held"
    submission = world.submission()
    with pytest.raises(StorageBusy):
        await impatient.submit(submission, nothing)
    assert child.do("release") == "done"
    _, made = await impatient.submit(submission, nothing)
    assert made
    await impatient.close()


async def test_closing_does_not_wait_for_a_lock(world: World, db_path: Path, start_child: StartChild) -> None:
    del world
    repository = SQLiteJobRepository(db_path)
    await repository.initialize()
    child = start_child()
    assert child.do("lock") == "held"
    write = asyncio.create_task(repository.create_user("Bob", "bob@example.org"))
    await asyncio.sleep(0)  # its work is on its way to the thread
    await repository.close()
    with pytest.raises(StorageBusy):
        await write


async def test_cancelled_write_is_whole_and_harms_no_other(world: World, start_child: StartChild) -> None:
    job = await world.running()
    child = start_child()
    assert child.do("lock") == "held"
    write = asyncio.create_task(world.append(job.id, [line("cancelled")], 1))
    await asyncio.sleep(0)
    write.cancel()
    await asyncio.wait([write])
    assert child.do("release") == "done"
    await world.append(job.id, [line("after")], 2)
    assert [data.get("data") for data in await world.told(job.id)][1:] == ["cancelled", "after"]


async def test_concurrent_writers_lose_nothing(world: World, start_child: StartChild) -> None:
    job = await world.running()
    children = [start_child() for _ in range(3)]
    for child in children:
        child.begin("notice", str(world.fence), job.id, "60")
    for offset in range(60):
        await world.append(job.id, [line(str(offset))], offset)
    assert [child.end() for child in children] == ["done"] * 3
    told = await world.told(job.id)  # which checks the numbers
    assert len(told) == 1 + 4 * 60
    assert [data["data"] for data in told if data["type"] == "log"] == [str(n) for n in range(60)]


async def test_the_quickest_of_two_controllers_leads(world: World, db_path: Path) -> None:
    other = SQLiteJobRepository(db_path)
    await other.initialize()
    lease = await world.repository.lease()
    assert lease is not None
    assert lease.holder is not None
    taken = await asyncio.gather(
        *(repository.take_lease(lease.holder, lease.fence) for repository in (world.repository, other)),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in taken) == ["FenceLost", "Lease"]
    await other.close()


async def test_only_the_owner_of_checkpoints_moves_the_log(
    world: World, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_BYTES", 100_000)
    server = SQLiteJobRepository(db_path)
    await server.initialize()
    job = await world.running()
    for number in range(40):
        await server.create_user("x" * 10_000, f"{number}@example.org")
    assert wal_bytes(db_path) > 400_000
    # The checkpoint is done between two writes, and after the answer to the first.
    offset = 0
    while wal_bytes(db_path) > 100_000:
        offset += 1
        await world.append(job.id, [line("x")], offset)
    assert len(await server.list_users()) == 41
    await server.close()


async def test_nothing_is_accepted_while_the_log_is_too_large(
    world: World, db_path: Path, start_child: StartChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_BYTES", 100_000)
    monkeypatch.setattr(writer, "_CHECKPOINT_RETRY_SECONDS", 0.0)
    server = SQLiteJobRepository(db_path, wal_limit_bytes=200_000)
    await server.initialize()
    job = await world.running()
    child = start_child()
    assert child.do("pin") == "held"  # an open read keeps the log from shrinking
    offset = 0
    while wal_bytes(db_path) <= 200_000:
        offset += 1
        await world.append(job.id, [line("x" * 10_000)], offset)
    submission = world.submission()
    with pytest.raises(StorageFull, match="ci-controller"):
        await server.submit(submission, nothing)
    # Cancelling and looking still work.
    assert (await server.get_job(job.id)).last_seq == offset + 1

    assert child.do("release") == "done"
    while wal_bytes(db_path) > 200_000:
        offset += 1
        await world.append(job.id, [line("x")], offset)
    _, made = await server.submit(submission, nothing)
    assert made
    await server.close()


async def test_a_database_in_use_elsewhere_is_sound_afterwards(
    world: World, db_path: Path, start_child: StartChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_BYTES", 50_000)
    job = await world.running()
    children = [start_child() for _ in range(2)]
    for number, child in enumerate(children):
        child.begin("users", f"u{number}", "80")
    for offset in range(80):
        await world.append(job.id, [line("x" * 3000)], offset)
    assert [child.end() for child in children] == ["done"] * 2
    with closing(sqlite3.connect(db_path)) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert len(await world.repository.list_users()) == 161


async def test_closing_leaves_no_thread(tmp_path: Path) -> None:
    repository = SQLiteJobRepository(tmp_path / "ci.db")
    await repository.initialize()
    await asyncio.gather(*(repository.list_users() for _ in range(50)))
    await repository.create_user("Ada", "ada@example.org")
    await repository.close()
    await repository.close()
    # What remains belongs to the event loop's own pool.
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    assert [name for name in others if not name.startswith("asyncio_")] == []


async def test_looking_at_a_file_keeps_the_locks_on_it(
    world: World, db_path: Path, start_child: StartChild
) -> None:
    """Another process that comes and goes must not take itself for the last one."""
    link = db_path.with_name("link.db")
    link.symlink_to(db_path)
    for path in (db_path, link):
        assert kind_of(path) is FileKind.OURS
    start_child().do("users", "x", "1")
    assert len(await world.repository.list_users()) == 2
    start_child().do("users", "y", "1")
    await world.repository.create_user("z", "z@example.org")
    assert len(await world.repository.list_users()) == 4
