"""Reads a job's events for all its watchers on this replica, and puts them into SSE's form.

Watchers who stand at the same event share one reading. Nobody ever joins a reading that has begun:
what it would miss might have rung that watcher's bell already.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from ci_common.ids import JobId
from ci_common.models import EventType, JobEvent, JobStatus
from ci_common.repository import JobRepository

BATCH_BYTES = 256 << 10
"""Bounds what a slow reader keeps in memory, but for the one event that reaches it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events in a row, ready to be sent."""

    frames: bytes
    """Empty where there were none."""
    after: int
    """Number of the event before the first one."""
    last_seq: int
    is_complete: bool
    """The job's last event is among them."""
    status: JobStatus | None
    """The newest status that they tell, if any."""
    is_all: bool
    """When they were read, there were no more."""


def event_frame(event: JobEvent) -> bytes:
    """One numbered event as SSE; its JSON is a single line by contract."""
    return f"id: {event.seq}\nevent: {event.type.value}\ndata: {event.json}\n\n".encode("ascii")


def unnumbered_frame(kind: str, data: dict[str, object]) -> bytes:
    """An event that is not stored, so that no client resumes from it."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode("ascii")


def position_frame(seq: int) -> bytes:
    """The stream's position, without an event."""
    return f"id: {seq}\n\n".encode("ascii")


def batch_of(events: Sequence[JobEvent], after: int, limit_bytes: int = BATCH_BYTES) -> Batch:
    """The events behind number `after` as one piece, as a reading of `limit_bytes` has brought them."""
    statuses = [event for event in events if event.type is EventType.STATUS]
    return Batch(
        frames=b"".join(event_frame(event) for event in events),
        after=after,
        last_seq=events[-1].seq if events else after,
        is_complete=bool(events) and events[-1].type is EventType.COMPLETE,
        status=JobStatus(json.loads(statuses[-1].json)["status"]) if statuses else None,
        is_all=sum(len(event.json) for event in events) < limit_bytes,
    )


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches that follow on each other, as one; at least one of them."""
    first, last = batches[0], batches[-1]
    return Batch(
        frames=b"".join(batch.frames for batch in batches),
        after=first.after,
        last_seq=last.last_seq,
        is_complete=last.is_complete,
        status=next((batch.status for batch in reversed(batches) if batch.status is not None), None),
        is_all=last.is_all,
    )


class EventReader:
    """Shared by all streams of a replica."""

    def __init__(self, jobs: JobRepository) -> None:
        self._jobs = jobs
        self._waiting: dict[tuple[JobId, int], asyncio.Task[Batch]] = {}
        """Readings that have not begun, by what they will read."""

    async def after(self, job_id: JobId, seq: int) -> Batch:
        """The next events behind number `seq`, as of now or later."""
        place = (job_id, seq)
        reading = self._waiting.get(place)
        if reading is None:
            reading = asyncio.create_task(self._begin(place))
            self._waiting[place] = reading
        return await asyncio.shield(reading)

    async def _begin(self, place: tuple[JobId, int]) -> Batch:
        del self._waiting[place]
        return await self.read(*place)

    async def read(self, job_id: JobId, seq: int) -> Batch:
        """`after`, for one who shares the result by itself."""
        return batch_of(await self._jobs.events_after(job_id, seq, BATCH_BYTES), seq)
