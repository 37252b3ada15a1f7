import asyncio

from ci_common.ids import new_job_id
from ci_server.event_reader import BATCH_BYTES
from ci_server.job_feed import TAIL_BYTES, JobFeed
from ci_server.watch import Watch
from tests.unit.server.stream_scene import FakeChanges, FakeWake, Scene, scene


def feed_of(at: Scene) -> tuple[JobFeed, Watch]:
    feed, watch = JobFeed(at.job.id, at.sources.reader), Watch(at.credential)
    feed.watches.add(watch)
    return feed, watch


async def rung(watch: Watch) -> None:
    await watch.wait()
    watch.clear()


async def test_before_anybody_has_come_to_the_end_only_the_database_knows() -> None:
    at = await scene()
    feed, watch = feed_of(at)
    await at.add("x")
    feed.look()
    assert feed.after(0) is None
    assert at.repository.readings == 0
    # What was committed between that reader's look and its word is read now.
    feed.reached(0)
    await rung(watch)
    batch = feed.after(0)
    assert batch is not None
    assert (batch.after, batch.last_seq) == (0, 1)


async def test_what_is_new_is_read_once_for_all_watchers() -> None:
    at = await scene()
    feed, watch = feed_of(at)
    feed.watches |= {Watch(at.credential) for _ in range(499)}
    feed.reached(0)
    for number in range(1, 4):
        await at.add(str(number))
        feed.look()
        await rung(watch)
        batches = [feed.after(number - 1) for _ in feed.watches]
        assert len({id(batch) for batch in batches}) == 1
    # One reading for the beginning, and one for each change: none to see that there is no more.
    assert at.repository.readings <= 4


async def test_news_during_a_reading_makes_another() -> None:
    at = await scene()
    feed, watch = feed_of(at)
    at.repository.gate.clear()
    feed.reached(0)
    await at.repository.begun.acquire()
    await at.add("x")
    feed.look()
    at.repository.gate.set()
    await rung(watch)
    batch = feed.after(0)
    assert batch is not None
    assert batch.last_seq == 1


async def test_who_is_behind_is_given_what_is_kept_as_one_piece() -> None:
    at = await scene()
    feed, watch = feed_of(at)
    feed.reached(0)
    for number in range(1, 6):
        await at.add(str(number))
        feed.look()
        await rung(watch)
    two_behind = feed.after(3)
    assert two_behind is not None
    assert (two_behind.after, two_behind.last_seq, two_behind.is_complete) == (3, 5, False)
    assert two_behind.frames == (await at.sources.reader.read(at.job.id, 3)).frames
    none = feed.after(5)
    assert none is not None
    assert (none.frames, none.last_seq) == (b"", 5)


async def test_what_is_kept_is_bounded_and_the_rest_is_in_the_database() -> None:
    at = await scene()
    feed, watch = feed_of(at)
    feed.reached(0)
    text = "x" * (BATCH_BYTES // 4)
    count = 4 * TAIL_BYTES // BATCH_BYTES + 4
    for _ in range(count):
        await at.add(text)
        feed.look()
        await rung(watch)
    assert feed.after(0) is None
    assert feed.after(count - 1) is not None
    position = count - TAIL_BYTES // len(text) + 1
    batch = feed.after(position)
    assert batch is not None
    # As much as one reading of the database brings, and no more.
    assert BATCH_BYTES <= len(batch.frames) < BATCH_BYTES + 2 * len(text)


async def test_a_flood_is_read_to_its_end() -> None:
    at = await scene()
    feed, watch = feed_of(at)
    await at.add(*("x" * (BATCH_BYTES // 2) for _ in range(9)))
    feed.reached(0)
    while (batch := feed.after(8)) is None or not batch.frames:
        await rung(watch)
    assert batch.last_seq == 9


async def test_a_position_between_kept_ones_is_the_databases_matter() -> None:
    at = await scene()
    feed, watch = feed_of(at)
    feed.reached(0)
    await asyncio.sleep(0)
    await at.add("a", "b")
    feed.look()
    await rung(watch)
    assert feed.after(1) is None


async def test_a_reading_that_fails_is_left_to_each_watcher() -> None:
    at = await scene()
    feed, watch = feed_of(at)
    feed.reached(0)
    at.repository.is_busy = True
    feed.look()
    await rung(watch)
    assert feed.after(0) is None
    at.repository.is_busy = False
    feed.reached(0)
    await at.add("x")
    feed.look()
    await rung(watch)
    assert feed.after(0) is not None


async def test_lost_announcements_are_made_up_for_by_one_look_at_all_jobs() -> None:
    at = await scene()
    one, other, changes = Watch(at.credential), Watch(at.credential), FakeChanges()
    with at.hub.watching(at.job.id, one) as feed, at.hub.watching(new_job_id(), other) as others:
        feed.reached(0)
        others.reached(0)
        for _ in range(2):
            await at.repository.begun.acquire()
        await at.add("x")
        running = asyncio.create_task(at.hub.run(changes))
        changes.wakes.put_nowait(FakeWake(everything=True))
        await one.wait()
        assert at.repository.readings == 3
        assert not other.has_rung
    running.cancel()
