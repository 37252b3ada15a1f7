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

_BATCH_BYTES = 256 << 10
"""Bounds what a slow reader keeps in memory; a single larger event comes alone."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events in a row, ready to be sent."""

    frames: bytes
    """Empty where there were none."""
    last_seq: int
    is_complete: bool
    """The job's last event is among them."""
    status: JobStatus | None
    """The newest status that they tell, if any."""


def event_frame(event: JobEvent) -> bytes:
    """One numbered event as SSE; its JSON is a single line by contract."""
    return f"id: {event.seq}\nevent: {event.type.value}\ndata: {event.json}\n\n".encode("ascii")


def unnumbered_frame(kind: str, data: dict[str, object]) -> bytes:
    """An event that is not stored, so that no client resumes from it."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode("ascii")


def position_frame(seq: int) -> bytes:
    """The stream's position, without an event."""
    return f"id: {seq}\n\n".encode("ascii")


def batch_of(events: Sequence[JobEvent], after: int) -> Batch:
    """The events behind number `after` as one piece."""
    statuses = [event for event in events if event.type is EventType.STATUS]
    return Batch(
        frames=b"".join(event_frame(event) for event in events),
        last_seq=events[-1].seq if events else after,
        is_complete=bool(events) and events[-1].type is EventType.COMPLETE,
        status=JobStatus(json.loads(statuses[-1].json)["status"]) if statuses else None,
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
            reading = asyncio.create_task(self._read(place))
            self._waiting[place] = reading
        return await asyncio.shield(reading)

    async def _read(self, place: tuple[JobId, int]) -> Batch:
        del self._waiting[place]
        job_id, seq = place
        return batch_of(await self._jobs.events_after(job_id, seq, _BATCH_BYTES), seq)
