"""A job's events as server-sent events: the past ones, then each as soon as it is committed.

A stream first tells its position, ends behind `complete`, and otherwise only when the server stops or
the reader's key is no longer good; the reader then comes again and goes on where it was, on any
replica. No timer stands between a commit and its sending: the timers here are for notices and for the
safety net alone. A slow reader holds one batch; one that has left holds nothing.
"""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Receive, Scope, Send

from ci_common.errors import CIError, InvalidInput
from ci_common.event_data import notice_data
from ci_common.models import EventType, Job, JobStatus
from ci_common.repository import JobRepository
from ci_server.auth import Credential
from ci_server.event_reader import Batch, EventReader, position_frame, unnumbered_frame
from ci_server.settings import ServerSettings
from ci_server.stream_hub import StreamHub, Watch
from ci_server.waiting import ControllerWatch, reason_to_wait

_LOOK_SECONDS = 15.0
"""A stream whose bell is silent looks all the same."""
_QUEUE_LOOK_SECONDS = 1.0
_STREAMS_PER_QUEUE_LOOK = 100
"""With more streams open, each looks more seldom at why its job waits."""
_SHUTDOWN_GRACE_SECONDS = 5.0

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
        self,
        jobs: JobRepository,
        hub: StreamHub,
        reader: EventReader,
        controller: ControllerWatch,
        settings: ServerSettings,
    ) -> None:
        self.jobs = jobs
        self.hub = hub
        self.reader = reader
        self.controller = controller
        self.settings = settings


class JobStream:
    """One reader's way through a job's events."""

    def __init__(self, sources: StreamSources, job: Job, position: int, credential: Credential) -> None:
        self._sources = sources
        self._job = job
        self._position = position
        self._credential = credential
        self._status = job.status
        self._watch: Watch | None = None
        self._told: str | None = None
        self._queued_since = time.monotonic()
        self.is_stopping = anyio.Event()
        """Set when the server is about to stop."""

    async def frames(self, preamble: bytes = b"") -> AsyncGenerator[bytes]:
        """The stream's bytes, `preamble` first."""
        yield preamble + position_frame(self._position)
        with self._sources.hub.watching(self._job.id, self._credential) as watch:
            self._watch = watch
            try:
                async with aclosing(self._events(watch)) as events:
                    async for frames in events:
                        yield frames
            except CIError as error:
                # An end without `complete` lets the reader come again.
                _log.warning("the stream of job %s ends: %s", self._job.id, error)

    async def end_when_stopping(self) -> None:
        """Let the stream end by itself once the server is about to stop."""
        await self.is_stopping.wait()
        if self._watch is not None:
            self._watch.end()

    async def _events(self, watch: Watch) -> AsyncGenerator[bytes]:
        if self._job.status is JobStatus.COMPLETED and self._position >= self._job.last_seq:
            self._position = self._job.last_seq - 1
        while not (watch.is_ending or self.is_stopping.is_set()):
            watch.clear()
            batch = await self._sources.reader.after(self._job.id, self._position)
            if batch.frames:
                self._advance(batch)
                yield batch.frames
                if batch.is_complete:
                    return
            elif self._status is JobStatus.QUEUED:
                notice = await self._news_of_waiting()
                if notice is not None:
                    yield notice
                await watch.wait(self._queue_look_seconds())
            else:
                await watch.wait(_LOOK_SECONDS)

    def _advance(self, batch: Batch) -> None:
        self._position = batch.last_seq
        if batch.status is not None:
            self._status = batch.status
            self._told = None
            self._queued_since = time.monotonic()

    async def _news_of_waiting(self) -> bytes | None:
        jobs = self._sources.jobs
        job = await jobs.get_job(self._job.id)
        if job.status is not JobStatus.QUEUED or job.cancel_reason is not None:
            return None
        reason = reason_to_wait(
            job,
            await jobs.queue_place(job.id),
            await self._sources.controller.view(),
            time.monotonic() - self._queued_since,
        )
        if reason is None or reason == self._told:
            return None
        self._told = reason
        return unnumbered_frame(EventType.NOTICE.value, notice_data(reason))

    def _queue_look_seconds(self) -> float:
        return max(_QUEUE_LOOK_SECONDS, len(self._sources.hub) / _STREAMS_PER_QUEUE_LOOK)


class EventStreamResponse(EventSourceResponse):
    """A `JobStream` on its way to one reader."""

    def __init__(
        self,
        stream: JobStream,
        settings: ServerSettings,
        *,
        preamble: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        # sse-starlette leaves the type of what a stream may yield partly open.
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            stream.frames(preamble),
            headers=headers,
            ping=settings.stream_ping_seconds,
            ping_message_factory=_ping,
            data_sender_callable=stream.end_when_stopping,
            send_timeout=settings.stream_send_seconds,
            shutdown_event=stream.is_stopping,
            shutdown_grace_period=_SHUTDOWN_GRACE_SECONDS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as ASGI has it."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            _log.info("the reader of %s takes nothing any more; its stream is closed", scope["path"])


def _ping() -> ServerSentEvent:
    return ServerSentEvent(comment="ping", sep="\n")
