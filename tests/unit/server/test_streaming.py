import asyncio
import json

import pytest

from ci_common.errors import InvalidInput
from ci_common.event_data import notice_data
from ci_common.ids import new_job_id, new_user_id
from ci_common.models import ControllerState, EventType, Job, JobEvent, JobStatus, Reason, SubmitOptions
from ci_server.event_reader import batch_of, event_frame
from ci_server.settings import ServerSettings
from ci_server.stream_clock import StreamClock
from ci_server.streaming import JobStream, start_of_stream
from ci_server.watch import Watch
from tests.unit.server.stream_scene import NOON, FakeChanges, FakeWake, scene


def job_at(last_seq: int) -> Job:
    return Job(
        id=new_job_id(),
        user_id=new_user_id(),
        status=JobStatus.RUNNING,
        options=SubmitOptions(),
        bundle_bytes=1,
        submit_time=NOON,
        last_seq=last_seq,
    )


@pytest.mark.parametrize(
    ("last_event_id", "after", "from_beginning", "expected"),
    [
        (None, 0, True, 0),
        ("", 0, True, 0),
        (None, 3, True, 3),
        (None, 3, False, 7),
        ("2", 3, False, 2),
        ("0", 3, False, 0),
        ("7", 0, True, 7),
        ("8", 0, True, 7),
        (None, 1 << 70, True, 7),
        ("9999999999999999999", 0, True, 7),
    ],
)
def test_where_a_stream_begins(
    last_event_id: str | None, after: int, from_beginning: bool, expected: int
) -> None:
    assert start_of_stream(job_at(7), last_event_id, after, from_beginning=from_beginning) == expected


@pytest.mark.parametrize("text", ["x", "-1", "1.0", " 1", "\u0661", "1" * 20])
def test_a_last_event_id_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        start_of_stream(job_at(7), text, 0, from_beginning=True)


def test_a_frame_is_three_lines_and_a_blank_one() -> None:
    data = json.dumps({"type": "log", "phase": "test", "data": "a\nb\r\u2028"})
    frame = event_frame(JobEvent(3, EventType.LOG, data))
    assert frame == f"id: 3\nevent: log\ndata: {data}\n\n".encode()
    assert b"\r" not in frame


def test_a_batch_tells_where_it_ends_and_what_it_means() -> None:
    empty = batch_of([], 4)
    assert (empty.frames, empty.last_seq, empty.is_complete, empty.status) == (b"", 4, False, None)
    events = [
        JobEvent(5, EventType.STATUS, json.dumps({"type": "status", "status": "running"})),
        JobEvent(6, EventType.STATUS, json.dumps({"type": "status", "status": "queued"})),
        JobEvent(7, EventType.COMPLETE, "{}"),
    ]
    batch = batch_of(events, 4)
    assert (batch.last_seq, batch.is_complete, batch.status) == (7, True, JobStatus.QUEUED)
    assert batch.frames == b"".join(event_frame(event) for event in events)


async def test_watchers_at_one_place_share_a_reading() -> None:
    at = await scene()
    await at.add("x")
    batches = await asyncio.gather(*(at.sources.reader.after(at.job.id, 0) for _ in range(50)))
    assert at.repository.readings == 1
    assert len({id(batch) for batch in batches}) == 1


async def test_nobody_joins_a_reading_that_has_begun() -> None:
    at = await scene()
    at.repository.gate.clear()
    first = asyncio.create_task(at.sources.reader.after(at.job.id, 0))
    await at.repository.begun.acquire()
    await at.add("x")
    second = asyncio.create_task(at.sources.reader.after(at.job.id, 0))
    await at.repository.begun.acquire()
    at.repository.gate.set()
    assert (await first).frames == b""
    assert (await second).last_seq == 1


async def test_a_watcher_that_leaves_does_not_take_the_reading_from_others() -> None:
    at = await scene()
    await at.add("x")
    at.repository.gate.clear()
    leaving, staying = (asyncio.create_task(at.sources.reader.after(at.job.id, 0)) for _ in range(2))
    await at.repository.begun.acquire()
    leaving.cancel()
    at.repository.gate.set()
    assert (await staying).last_seq == 1


async def test_a_wake_rings_the_bells_of_its_job_alone() -> None:
    at = await scene()
    changes = FakeChanges()
    running = asyncio.create_task(at.hub.run(changes))
    one, two = Watch(at.credential), Watch(at.credential)
    two.is_waiting = True
    with at.hub.watching(at.job.id, one) as feed, at.hub.watching(new_job_id(), two):
        assert len(at.hub) == 2
        feed.reached(0)
        await at.add("x")
        changes.wakes.put_nowait(FakeWake(frozenset({at.job.id})))
        await one.wait()
        two_waits = asyncio.create_task(two.wait())
        await asyncio.sleep(0)
        assert not two_waits.done()
        changes.wakes.put_nowait(FakeWake(everything=True))
        await two_waits
    assert len(at.hub) == 0
    running.cancel()


async def test_a_ring_between_clear_and_wait_is_not_lost() -> None:
    watch = Watch((await scene()).credential)
    watch.clear()
    watch.ring()
    await watch.wait()


async def collected(stream: JobStream) -> list[str]:
    return [frame.decode() async for frame in stream.frames()]


async def test_a_stream_goes_on_until_complete() -> None:
    at = await scene()
    await at.add("one", "two")
    changes = FakeChanges()
    running = asyncio.create_task(at.hub.run(changes))
    seen: list[str] = []
    async for frame in (await at.stream()).frames():
        seen.append(frame.decode())
        if "two" in seen[-1]:
            await at.complete(notice_data("over"))
            changes.wakes.put_nowait(FakeWake(frozenset({at.job.id})))
    running.cancel()
    numbered = "".join(seen)
    assert [line for line in numbered.splitlines() if line.startswith("id:")] == [
        f"id: {number}" for number in range(5)
    ]
    assert len(at.hub) == 0


async def test_a_completed_job_says_complete_again() -> None:
    at = await scene()
    await at.complete()
    position, complete = await collected(await at.stream(position=1))
    assert position == "id: 1\n\n"
    assert complete.startswith("id: 1\nevent: complete\n")


async def test_a_stopping_server_ends_a_stream_in_the_midst_of_it() -> None:
    at = await scene()
    await at.add("x")
    stream = await at.stream()
    frames = stream.frames()
    seen = [await anext(frames), await anext(frames)]
    clock = StreamClock(at.hub, ServerSettings(), lambda: True)
    clock.tick(0)
    seen += [frame async for frame in frames]
    assert b"complete" not in b"".join(seen)
    assert len(at.hub) == 0


async def test_a_busy_database_ends_a_stream_cleanly() -> None:
    at = await scene()
    at.repository.is_busy = True
    assert await collected(await at.stream()) == ["id: 0\n\n"]
    assert len(at.hub) == 0


async def test_a_reader_that_leaves_leaves_nothing() -> None:
    at = await scene()
    await at.add("x")
    frames = (await at.stream()).frames()
    await anext(frames)
    await anext(frames)
    assert len(at.hub) == 1
    await frames.aclose()
    assert len(at.hub) == 0


async def test_why_it_waits_is_said_once_and_anew_when_it_changes() -> None:
    at = await scene()
    await at.repository.beat(at.fence, ControllerState.NO_ENGINE, "")
    changes = FakeChanges()
    running = asyncio.create_task(at.hub.run(changes))
    frames = (await at.stream()).frames()
    assert await anext(frames) == b"id: 0\n\n"
    first = (await anext(frames)).decode()
    assert first.startswith("event: notice\ndata: ")
    assert "engine can't be reached" in first
    await at.repository.request_cancel(at.job.id, Reason.CANCELLED_BY_USER)
    changes.wakes.put_nowait(FakeWake(everything=True))
    assert b"event: complete" in b"".join([frame async for frame in frames])
    running.cancel()
