"""Keys that want a turn: each at most once in the queue, never worked on twice at once.

As in Kubernetes' controller-runtime: adding a key that waits changes nothing, adding one that is being
worked on gives it another turn afterwards. A key whose turn fails comes back after a delay that grows
with each failure and holds nobody else up.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ci_common.errors import EngineUnavailable, FenceLost
from ci_common.ids import JobId

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 30.0
MAX_DOUBLINGS = 10

_log = logging.getLogger(__name__)


class WorkQueue:
    """Runs `turn` for each key that was added, different keys side by side."""

    def __init__(self, turn: Callable[[JobId], Awaitable[None]]) -> None:
        self._turn = turn
        self._active: dict[JobId, asyncio.Task[None]] = {}
        self._again: set[JobId] = set()
        self._timers: dict[JobId, asyncio.TimerHandle] = {}
        self._failures: dict[JobId, int] = {}
        self._closed = False
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with FenceLost as soon as any turn does: the controller must stop."""

    def add(self, job_id: JobId) -> None:
        """Give the key a turn as soon as it has none."""
        if self._closed:
            return
        self._drop_timer(job_id)
        if job_id in self._active:
            self._again.add(job_id)
        else:
            self._active[job_id] = asyncio.create_task(self._work(job_id), name=f"turn {job_id}")

    def add_after(self, job_id: JobId, delay_seconds: float) -> None:
        """Give the key a turn in `delay_seconds`, unless it gets one sooner."""
        if self._closed:
            return
        timer = self._timers.get(job_id)
        due = asyncio.get_running_loop().time() + delay_seconds
        if timer is None or due < timer.when():
            self._drop_timer(job_id)
            self._timers[job_id] = asyncio.get_running_loop().call_later(delay_seconds, self.add, job_id)

    def failures(self, job_id: JobId) -> int:
        """How many of the key's turns in a row have failed."""
        return self._failures.get(job_id, 0)

    async def close(self) -> None:
        """Take no more keys and wait until the turns under way have ended."""
        self._closed = True
        self._again.clear()
        for job_id in list(self._timers):
            self._drop_timer(job_id)
        await asyncio.gather(*self._active.values())

    def _drop_timer(self, job_id: JobId) -> None:
        timer = self._timers.pop(job_id, None)
        if timer is not None:
            timer.cancel()

    async def _work(self, job_id: JobId) -> None:
        try:
            await self._turn(job_id)
        except FenceLost as lost:
            self.fail(lost)
        except Exception as problem:  # noqa: BLE001 - a poisoned key must not end the controller; it backs off
            self._retry_later(job_id, problem)
        else:
            self._failures.pop(job_id, None)
        finally:
            del self._active[job_id]
            if job_id in self._again:
                self._again.discard(job_id)
                self.add(job_id)

    def fail(self, lost: FenceLost) -> None:
        """Report that this controller no longer leads."""
        if not self.fatal.done():
            self.fatal.set_exception(lost)

    def _retry_later(self, job_id: JobId, problem: Exception) -> None:
        failures = self._failures[job_id] = self._failures.get(job_id, 0) + 1
        delay_seconds = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, MAX_DOUBLINGS))
        trace = None if isinstance(problem, EngineUnavailable) else problem
        _log.warning("job %s: %s; next try in %.1f s", job_id, problem, delay_seconds, exc_info=trace)
        self.add_after(job_id, delay_seconds)
