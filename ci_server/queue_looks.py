"""Where queued jobs stand, read once for all streams that want to know at the same moment.

Nobody joins a reading that has begun, as in `event_reader`.
"""

import asyncio
from collections.abc import Mapping

from ci_common.ids import JobId
from ci_common.repository import JobRepository, QueuePlace


class QueueLooks:
    """Shared by all streams of a replica."""

    def __init__(self, jobs: JobRepository) -> None:
        self._jobs = jobs
        self._asked: set[JobId] = set()
        self._waiting: asyncio.Task[Mapping[JobId, QueuePlace]] | None = None
        """The reading that has not begun."""

    async def find(self, job_id: JobId) -> QueuePlace | None:
        """Its place, as of now or later; None where it isn't queued."""
        self._asked.add(job_id)
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._read())
        return (await asyncio.shield(self._waiting)).get(job_id)

    async def _read(self) -> Mapping[JobId, QueuePlace]:
        asked, self._asked, self._waiting = self._asked, set(), None
        return await self._jobs.queue_places(sorted(asked))
