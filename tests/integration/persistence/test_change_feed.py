import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from ci_common.ids import JobId, new_job_id
from ci_common.models import ControllerState, Reason
from ci_persistence import announcements
from ci_persistence.announcements import Announcer, Audience
from ci_persistence.change_feed import ChangeFeed
from ci_persistence.data_paths import wake_dir_of
from ci_persistence.sqlite_repository import SQLiteJobRepository
from ci_persistence.subscription import Subscription, Wake
from ci_persistence.wake_socket import WakeSocket
from tests.contract.world import World, line
from tests.integration.persistence.child import Child

StartChild = Callable[[], Child]
LONG_SECONDS = 60
"""A wait that only a lost wake-up would make long."""


@pytest.fixture
async def server_feed(world: World, db_path: Path) -> AsyncIterator[ChangeFeed]:
    del world
    feed = ChangeFeed(db_path, Audience.SERVER)
    await feed.start()
    yield feed
    await feed.close()


@pytest.fixture
async def controller_feed(world: World, db_path: Path) -> AsyncIterator[ChangeFeed]:
    del world
    feed = ChangeFeed(db_path, Audience.CONTROLLER)
    await feed.start()
    yield feed
    await feed.close()


async def _heard(subscription: Subscription, job_id: JobId) -> bool:
    """Whether a datagram named the job; the net below tells of everything instead."""
    while True:
        wake = await subscription.wait(LONG_SECONDS)
        if wake == Wake():
            return False
        if job_id in wake.job_ids:
            return True


async def _told_everything(subscription: Subscription) -> bool:
    while True:
        wake = await subscription.wait(LONG_SECONDS)
        if wake == Wake() or wake.everything:
            return wake.everything


async def test_controller_hears_of_submissions_and_cancellations(
    world: World, controller_feed: ChangeFeed, start_child: StartChild
) -> None:
    subscription = controller_feed.subscribe(None)
    child, job_id = start_child(), new_job_id()
    child.do("submit", world.user_id, world.key_id, job_id)
    assert await _heard(subscription, job_id)
    child.do("cancel", job_id)
    assert await _heard(subscription, job_id)


async def test_watchers_hear_of_their_job(
    world: World, server_feed: ChangeFeed, start_child: StartChild
) -> None:
    job, other = await world.running("c1"), await world.running("c2")
    mine, theirs = server_feed.subscribe(job.id), server_feed.subscribe(other.id)
    everybodys = server_feed.subscribe(None)
    child = start_child()
    child.do("notice", str(world.fence), job.id, "1")
    assert await _heard(mine, job.id)
    assert await _heard(everybodys, job.id)
    child.do("notice", str(world.fence), other.id, "1")
    assert await _heard(theirs, other.id)
    assert job.id not in (await theirs.wait(0)).job_ids


async def test_own_commits_are_heard_too(world: World, server_feed: ChangeFeed) -> None:
    job = await world.queued()
    subscription = server_feed.subscribe(job.id)
    await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_USER)
    assert await _heard(subscription, job.id)


async def test_two_replicas_hear_the_same(world: World, server_feed: ChangeFeed, db_path: Path) -> None:
    second = ChangeFeed(db_path, Audience.SERVER)
    await second.start()
    job = await world.running()
    subscriptions = [feed.subscribe(job.id) for feed in (server_feed, second)]
    await world.append(job.id, [line("x")], 1)
    assert [await _heard(subscription, job.id) for subscription in subscriptions] == [True, True]
    await second.close()


@pytest.mark.parametrize("change", ["revoke", "deactivate", "state"])
async def test_news_that_concern_all_streams_wake_them(
    world: World, server_feed: ChangeFeed, change: str
) -> None:
    subscription = server_feed.subscribe(new_job_id())
    match change:
        case "revoke":
            await world.repository.revoke_key(world.key_id)
        case "deactivate":
            await world.repository.set_user_active(world.user_id, False)
        case _:
            await world.repository.beat(world.fence, ControllerState.NO_ENGINE, "not running")
    assert await _told_everything(subscription)


async def test_closed_subscription_hears_nothing(world: World, server_feed: ChangeFeed) -> None:
    job = await world.running()
    closed, open_one = server_feed.subscribe(job.id), server_feed.subscribe(job.id)
    closed.close()
    closed.close()
    await world.append(job.id, [line("x")], 1)
    assert await _heard(open_one, job.id)
    assert await closed.wait(0) == Wake()


async def test_lost_datagrams_are_made_up_for(
    world: World, server_feed: ChangeFeed, controller_feed: ChangeFeed, db_path: Path, start_child: StartChild
) -> None:
    subscriptions = [feed.subscribe(None) for feed in (server_feed, controller_feed)]
    shutil.rmtree(wake_dir_of(db_path))
    start_child().do("submit", world.user_id, world.key_id, new_job_id())
    assert [await _told_everything(subscription) for subscription in subscriptions] == [True, True]


async def test_leaders_own_writes_are_no_news_to_it(world: World, db_path: Path) -> None:
    job = await world.queued()

    def changes() -> int:
        with closing(sqlite3.connect(db_path)) as sql:
            number: int = sql.execute("SELECT changes FROM controller_inbox").fetchone()[0]
            return number

    before = changes()
    await world.repository.beat(world.fence, ControllerState.READY, "")
    await world.repository.set_waiting(world.fence, job.id, "soon")
    await world.append((await world.running()).id, [line("x")], 1)
    assert changes() == before + 1  # the submission of the second job
    await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_USER)
    assert changes() == before + 2


async def test_closing_wakes_all_and_removes_the_socket(world: World, db_path: Path) -> None:
    del world
    feed = ChangeFeed(db_path, Audience.SERVER)
    await feed.start()
    assert len(list(_sockets(db_path))) == 1
    waiters = [
        asyncio.create_task(feed.subscribe(job_id).wait(LONG_SECONDS)) for job_id in (None, new_job_id())
    ]
    await asyncio.sleep(0)
    await feed.close()
    await feed.close()
    assert await asyncio.gather(*waiters) == [Wake(everything=True)] * 2
    assert list(_sockets(db_path)) == []


async def test_long_paths(tmp_path: Path) -> None:
    db_path = tmp_path / ("long" * 30) / ("path" * 30) / "ci.db"
    repository = SQLiteJobRepository(db_path)
    await repository.initialize()
    world = await World.create(repository)
    feed = ChangeFeed(db_path, Audience.CONTROLLER)
    await feed.start()
    subscription = feed.subscribe(None)
    job = await world.queued()
    assert await _heard(subscription, job.id)
    await feed.close()
    await repository.close()


def _sockets(db_path: Path) -> list[Path]:
    return sorted(wake_dir_of(db_path).iterdir())


def test_sockets_belong_to_the_group(db_path: Path) -> None:
    listener = WakeSocket.open(wake_dir_of(db_path), Audience.SERVER)
    (path,) = _sockets(db_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o2770
    listener.close()


def test_full_queue_never_blocks_and_shows(db_path: Path) -> None:
    listener = WakeSocket.open(wake_dir_of(db_path), Audience.SERVER)
    announcer = Announcer(db_path)
    jobs = [new_job_id() for _ in range(1000)]
    announcer.announce(Audience.SERVER, jobs[:1])
    assert listener.receive() == Wake(frozenset(jobs[:1]))
    for job_id in jobs:
        announcer.announce(Audience.SERVER, [job_id])
    assert listener.receive().everything
    assert listener.receive() == Wake()
    announcer.announce(Audience.SERVER, jobs[:3])
    assert listener.receive() == Wake(frozenset(jobs[:3]))
    announcer.announce(Audience.SERVER, jobs)
    assert listener.receive() == Wake(everything=True)
    announcer.close()
    listener.close()


def test_audiences_are_kept_apart(db_path: Path) -> None:
    server = WakeSocket.open(wake_dir_of(db_path), Audience.SERVER)
    controller = WakeSocket.open(wake_dir_of(db_path), Audience.CONTROLLER)
    announcer = Announcer(db_path)
    announcer.announce_everything(Audience.CONTROLLER)
    assert server.receive() == Wake()
    assert controller.receive() == Wake(everything=True)
    for closable in (announcer, server, controller):
        closable.close()


def test_nonsense_in_a_datagram_harms_nobody(db_path: Path) -> None:
    listener = WakeSocket.open(wake_dir_of(db_path), Audience.SERVER)
    announcer = Announcer(db_path)
    announcer.announce(Audience.SERVER, [JobId("no job")])
    assert listener.receive() == Wake(frozenset({JobId("no job")}))
    announcer.close()
    listener.close()


def test_nobody_listens(db_path: Path) -> None:
    announcer = Announcer(db_path)
    announcer.announce(Audience.SERVER, [new_job_id()])
    announcer.close()
    assert not wake_dir_of(db_path).exists()


def test_sockets_of_dead_processes_are_removed(db_path: Path, start_child: StartChild) -> None:
    def dead_socket() -> None:
        child = start_child()
        assert child.do("listen") == "done"
        child.kill()
        assert len(_sockets(db_path)) == 1

    dead_socket()
    announcer = Announcer(db_path)
    announcer.announce_everything(Audience.SERVER)
    announcer.close()
    assert _sockets(db_path) == []

    dead_socket()
    WakeSocket.open(wake_dir_of(db_path), Audience.CONTROLLER).close()
    assert _sockets(db_path) == []


def test_other_files_in_the_folder_do_no_harm(db_path: Path) -> None:
    listener = WakeSocket.open(wake_dir_of(db_path), Audience.SERVER)
    (wake_dir_of(db_path) / "server-notes.sock").touch()
    (wake_dir_of(db_path) / "server-folder.sock").mkdir()
    announcer = Announcer(db_path)
    announcer.announce_everything(Audience.SERVER)
    assert listener.receive() == Wake(everything=True)
    announcer.close()
    listener.close()


def test_a_folder_is_listed_again_only_once_it_has_changed(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[int] = []
    list_names = announcements.socket_names

    def counted(directory: int, audience: Audience) -> list[str]:
        listings.append(directory)
        return list_names(directory, audience)

    def announced(listener: WakeSocket) -> bool:
        listings.clear()
        announcer.announce_everything(Audience.SERVER)
        return listener.receive() == Wake(everything=True)

    monkeypatch.setattr(announcements, "socket_names", counted)
    folder = wake_dir_of(db_path)
    first = WakeSocket.open(folder, Audience.SERVER)
    announcer = Announcer(db_path)
    # Changed a moment ago: another change might bear the same time.
    assert announced(first)
    assert announced(first)
    assert listings

    os.utime(folder, ns=(1, 1))
    assert announced(first)
    assert listings
    assert announced(first)
    assert not listings

    second = WakeSocket.open(folder, Audience.SERVER)
    assert announced(second)
    first.close()
    assert announced(second)
    second.close()
    shutil.rmtree(folder)
    announcer.announce_everything(Audience.SERVER)
    third = WakeSocket.open(folder, Audience.SERVER)
    assert announced(third)
    third.close()
    announcer.close()
