"""What one waiter of a `ChangeFeed` holds: the news that has come since it last looked.

A wake is a hint: whoever gets one reads the database, and finds there all that has happened.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from ci_common.ids import JobId


@dataclass(frozen=True, slots=True)
class Wake:
    """What may have changed. Empty when nothing came in time."""

    job_ids: frozenset[JobId] = frozenset()
    everything: bool = False
    """More may have changed than the ids tell."""


class Subscription:
    """One waiter; made by `ChangeFeed.subscribe`."""

    __slots__ = ("_everything", "_job_ids", "_on_close", "_woken", "job_id")

    def __init__(self, job_id: JobId | None, on_close: Callable[[Self], None]) -> None:
        self.job_id = job_id
        """The one job that it is about; None for all."""
        self._on_close = on_close
        self._job_ids: set[JobId] = set()
        self._everything = False
        self._woken = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> Wake:
        """The news since the last call, as soon as there is any, or an empty wake."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._woken.wait()
        except TimeoutError:
            return Wake()
        wake = Wake(frozenset(self._job_ids), self._everything)
        self._job_ids.clear()
        self._everything = False
        self._woken.clear()
        return wake

    def tell(self, job_ids: Iterable[JobId]) -> None:
        """For the feed: these have changed."""
        self._job_ids.update(job_ids)
        self._woken.set()

    def tell_everything(self) -> None:
        """For the feed: anything may have changed."""
        self._everything = True
        self._woken.set()

    def close(self) -> None:
        """It is told nothing more; calling it twice is no error."""
        self._on_close(self)
