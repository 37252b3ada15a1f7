"""A job's events as server-sent events: the past ones, then each as soon as it is committed.

A stream first tells its position, ends behind `complete`, and otherwise only when the server stops or
the reader's key is no longer good; the reader then comes again and goes on where it was, on any
replica. No timer stands between a commit and its sending (`stream_clock` has the only one), and a
stream costs two tasks: one sends, one notices that the reader has left. A slow reader holds one batch;
one that has left holds nothing.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sse_starlette.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from ci_common.errors import CIError, InvalidInput
from ci_common.event_data import notice_data
from ci_common.models import EventType, Job, JobStatus
from ci_server.auth import Credential
from ci_server.event_reader import Batch, EventReader, position_frame, unnumbered_frame
from ci_server.job_feed import JobFeed
from ci_server.queue_looks import QueueLooks
from ci_server.stream_hub import StreamHub
from ci_server.waiting import ControllerWatch, reason_to_wait
from ci_server.watch import Watch

_PING = b": ping\n\n"

_log = logging.getLogger(__name__)


def start_of_stream(job: Job, last_event_id: str | None, after: int, *, from_beginning: bool) -> int:
    """The number of the last event that the reader has. Pure.

    Raises:
        InvalidInput: `Last-Event-ID` is no number.
    """
    if last_event_id:
        if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 20):
            raise InvalidInput("Last-Event-ID must be the number of an event")
        wanted = int(last_event_id)
    elif not from_beginning:
        wanted = job.last_seq
    else:
        wanted = after
    # Nobody has seen what doesn't exist: behind the end there would be nothing to wait for.
    return min(wanted, job.last_seq)


class StreamSources:
    """What the streams of a replica share."""

    def __init__(
        self, hub: StreamHub, reader: EventReader, queue: QueueLooks, controller: ControllerWatch
    ) -> None:
        self.hub = hub
        self.reader = reader
        self.queue = queue
        self.controller = controller


class JobStream:
    """One reader's way through a job's events."""

    def __init__(self, sources: StreamSources, job: Job, position: int, credential: Credential) -> None:
        self.watch = Watch(credential)
        self._sources = sources
        self._job = job
        self._position = position
        self._status = job.status
        self._told: str | None = None
        self._queued_since = time.monotonic()

    async def frames(self, preamble: bytes = b"") -> AsyncGenerator[bytes]:
        """The stream's bytes, `preamble` first."""
        yield preamble + position_frame(self._position)
        if self._job.status is JobStatus.COMPLETED and self._position >= self._job.last_seq:
            self._position = self._job.last_seq - 1
        watch = self.watch
        with self._sources.hub.watching(self._job.id, watch) as feed:
            while not watch.is_ending:
                watch.clear()
                try:
                    batch = await self._next(feed)
                    other = b"" if batch.frames else await self._not_stored()
                except CIError as error:
                    # An end without `complete` lets the reader come again.
                    _log.warning("the stream of job %s ends: %s", self._job.id, error)
                    return
                if batch.frames:
                    self._advance(batch)
                    yield batch.frames
                    if batch.is_complete:
                        return
                elif other:
                    yield other
                else:
                    await watch.wait()

    async def _next(self, feed: JobFeed) -> Batch:
        batch = feed.after(self._position)
        if batch is None:
            batch = await self._sources.reader.after(self._job.id, self._position)
            if not batch.frames:
                feed.reached(self._position)
        return batch

    def _advance(self, batch: Batch) -> None:
        self._position = batch.last_seq
        if batch.status is not None:
            self._status = batch.status
            self._told = None
            self._queued_since = time.monotonic()

    async def _not_stored(self) -> bytes:
        """What there is to say beside the job's events, if anything."""
        self.watch.is_waiting = self._status is JobStatus.QUEUED
        if self.watch.is_ping_due:
            self.watch.is_ping_due = False
            return _PING
        return await self._news_of_waiting() if self.watch.is_waiting else b""

    async def _news_of_waiting(self) -> bytes:
        standing = await self._sources.queue.find(self._job.id)
        if standing is None:
            return b""
        reason = reason_to_wait(
            standing,
            await self._sources.controller.view(),
            time.monotonic() - self._queued_since,
        )
        if reason is None or reason == self._told:
            return b""
        self._told = reason
        return unnumbered_frame(EventType.NOTICE.value, notice_data(reason))


class EventStreamResponse(EventSourceResponse):
    """A `JobStream` on its way to one reader.

    The library knows the headers. Its way of sending gives every stream five tasks and each chunk a
    timer and a lock, which is more than all else that a line costs on its way to a watcher.
    """

    def __init__(
        self, stream: JobStream, *, preamble: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        # sse-starlette leaves the type of what a stream may yield partly open.
        self._frames = stream.frames(preamble)
        super().__init__(self._frames, headers=headers)  # pyright: ignore[reportUnknownMemberType]
        self._watch = stream.watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as ASGI has it."""
        leaving = asyncio.create_task(_end_when_left(self._watch, receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with aclosing(self._frames) as frames:
                async for piece in frames:
                    self._watch.begin_sending()
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    self._watch.end_sending()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._watch.is_stuck or task is None or task.uncancel():
                raise
            _log.info("the reader of %s takes nothing any more; its stream is closed", scope["path"])
        finally:
            leaving.cancel()


async def _end_when_left(watch: Watch, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watch.end()
