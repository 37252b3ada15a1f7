"""How much of its time limit a job has left, on the event loop's clock: wall clocks jump.

The runner keeps the limit itself; the deadline here is the net beneath it. After a crash the next
controller gives a job that it takes over the whole limit anew, for the net alone.
"""

import asyncio

from ci_common.ids import JobId

RUNNER_MARGIN_SECONDS = 60.0
"""What the runner may take beyond the limit, feeding included, before it is ended from outside."""


class Timekeeping:
    """The present attempts' beginnings."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit_seconds = limit_seconds
        self._began: dict[JobId, float] = {}
        self._loop = asyncio.get_running_loop()

    def left_seconds(self, job_id: JobId) -> float:
        """Of the limit; the first call for an attempt begins its time."""
        began = self._began.setdefault(job_id, self._loop.time())
        return max(1.0, self._limit_seconds - (self._loop.time() - began))

    def deadline(self, job_id: JobId) -> float:
        """When the attempt must have ended, on the event loop's clock."""
        return self._loop.time() + self.left_seconds(job_id) + RUNNER_MARGIN_SECONDS

    def forget(self, job_id: JobId) -> None:
        """The attempt has ended."""
        self._began.pop(job_id, None)
