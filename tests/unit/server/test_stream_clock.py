import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Message

from ci_common.ids import new_job_id
from ci_common.repository import QueuePlace
from ci_server.queue_looks import QueueLooks
from ci_server.settings import ServerSettings
from ci_server.stream_clock import StreamClock
from ci_server.streaming import EventStreamResponse
from ci_server.watch import Watch
from tests.unit.server.stream_scene import Scene, scene

SCOPE: MutableMapping[str, Any] = {"type": "http", "path": "/jobs/x/stream"}  # ASGI's own type


class Reader:
    """The far end of a stream, as ASGI has it."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self.has_left = asyncio.Event()
        self.is_held_up = asyncio.Event()
        self.has_begun = asyncio.Event()

    async def send(self, message: Message) -> None:
        if not self.takes.is_set():
            self.is_held_up.set()
            await self.takes.wait()
        self.sent.append(message)
        if message["type"] == "http.response.body":
            self.has_begun.set()

    async def receive(self) -> Message:
        await self.has_left.wait()
        return {"type": "http.disconnect"}


def clock_of(at: Scene, *, is_stopping: bool = False) -> StreamClock:
    return StreamClock(at.hub, ServerSettings(), lambda: is_stopping)


async def test_a_stream_is_pinged_when_it_is_time() -> None:
    at = await scene()
    watch, clock = Watch(at.credential), clock_of(at)
    with at.hub.watching(at.job.id, watch):
        clock.tick(watch.pinged_at + 14)
        assert not watch.is_ping_due
        clock.tick(watch.pinged_at + 15)
        assert watch.is_ping_due
        await watch.wait()


async def test_a_reader_that_takes_nothing_is_given_up() -> None:
    at = await scene()
    await at.add("x")
    reader, stream, clock = Reader(), await at.stream(), clock_of(at)
    serving = asyncio.create_task(EventStreamResponse(stream)(SCOPE, reader.receive, reader.send))
    await reader.has_begun.wait()
    reader.takes.clear()
    await reader.is_held_up.wait()
    since = stream.watch.sending_since
    assert since is not None
    clock.tick(since + 59)
    assert not stream.watch.is_stuck
    clock.tick(since + 61)
    await serving
    assert len(at.hub) == 0
    assert reader.sent[-1].get("more_body", True)


async def test_a_stopping_server_waits_less_for_such_a_reader() -> None:
    at = await scene()
    watch = Watch(at.credential)
    with at.hub.watching(at.job.id, watch):
        watch.begin_sending()
        clock_of(at, is_stopping=True).tick((watch.sending_since or 0) + 5)
        assert watch.is_stuck
        assert watch.is_ending
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)


async def test_a_reader_that_leaves_ends_its_stream() -> None:
    at = await scene()
    reader = Reader()
    serving = asyncio.create_task(EventStreamResponse(await at.stream())(SCOPE, reader.receive, reader.send))
    await reader.has_begun.wait()
    assert len(at.hub) == 1
    reader.has_left.set()
    await serving
    assert len(at.hub) == 0


async def test_a_stream_that_is_cancelled_is_cancelled() -> None:
    at = await scene()
    reader = Reader()
    serving = asyncio.create_task(EventStreamResponse(await at.stream())(SCOPE, reader.receive, reader.send))
    await reader.has_begun.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert len(at.hub) == 0


async def test_the_queue_is_read_once_for_all_who_ask_together() -> None:
    at = await scene()
    queue = QueueLooks(at.repository)
    found = await asyncio.gather(*(queue.find(at.job.id) for _ in range(50)), queue.find(new_job_id()))
    assert at.repository.queue_readings == 1
    assert found == [*([QueuePlace(1, None)] * 50), None]


async def test_waiting_streams_are_rung_when_the_queue_is_to_be_looked_at() -> None:
    at = await scene()
    watch, clock = Watch(at.credential), clock_of(at)
    with at.hub.watching(at.job.id, watch):
        watch.is_waiting = True
        at.hub.ring_waiting()
        assert watch.has_rung
        watch.clear()
        clock.tick(at.hub.waiting_rung_at + 0.5)
        assert not watch.has_rung
        clock.tick(at.hub.waiting_rung_at + 1.0)
        assert watch.has_rung
