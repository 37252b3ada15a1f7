"""Wakes the open event streams of this replica, and ends those whose key is no longer good.

One subscription serves all streams: what it brings rings the bells of those who watch a job that
changed. A bell is a hint; whoever hears it reads the database again. The keys of open streams are
judged anew soon after anything in the database changed, at most once in `RECHECK_SECONDS`.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Protocol

from ci_common.errors import CIError, NotPermitted
from ci_common.ids import JobId
from ci_server.auth import Authenticator, Credential

RECHECK_SECONDS = 1.0
_RECHECK_AT_LEAST_SECONDS = 30.0
"""Keys also expire, which changes nothing in the database."""

_log = logging.getLogger(__name__)


class Wake(Protocol):
    """What has changed: some jobs, or possibly anything."""

    @property
    def job_ids(self) -> Collection[JobId]:
        """Jobs that changed."""
        ...

    @property
    def everything(self) -> bool:
        """Anything may have changed."""
        ...


class WakeSource(Protocol):
    """A subscription to all changes."""

    async def wait(self, timeout_seconds: float) -> Wake:
        """The changes since the last call; nothing changed when the time is up."""
        ...


class Watch:
    """One open stream's bell."""

    def __init__(self, job_id: JobId, credential: Credential) -> None:
        self.job_id = job_id
        self.credential = credential
        self.is_ending = False
        """Its key is no longer good, or the server is about to stop."""
        self._bell = asyncio.Event()

    def clear(self) -> None:
        """Forget earlier rings: call it before reading, so that none during the reading is lost."""
        self._bell.clear()

    def ring(self) -> None:
        """Something may have changed."""
        self._bell.set()

    def end(self) -> None:
        """The stream must end."""
        self.is_ending = True
        self.ring()

    async def wait(self, timeout_seconds: float) -> None:
        """Until it has rung since `clear`, or the time is up."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._bell.wait()
        except TimeoutError:
            return


class StreamHub:
    """All open streams of this replica; `run` must be running for them to be woken."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._watches: dict[JobId, set[Watch]] = {}
        self._count = 0
        self._is_unchecked = False
        self._last_check = time.monotonic()
        self._recheck: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def watching(self, job_id: JobId, credential: Credential) -> Generator[Watch]:
        """A bell that rings for this job as long as the context lasts."""
        watch = Watch(job_id, credential)
        self._watches.setdefault(job_id, set()).add(watch)
        self._count += 1
        try:
            yield watch
        finally:
            self._count -= 1
            remaining = self._watches[job_id]
            remaining.discard(watch)
            if not remaining:
                del self._watches[job_id]

    async def run(self, changes: WakeSource) -> None:
        """Pass on what `changes` brings, until cancelled."""
        try:
            while True:
                wake = await changes.wait(RECHECK_SECONDS)
                self._ring(wake)
                self._is_unchecked = self._is_unchecked or wake.everything or bool(wake.job_ids)
                self._recheck_when_due()
        finally:
            if self._recheck is not None:
                self._recheck.cancel()

    def _ring(self, wake: Wake) -> None:
        for job_id in self._watches if wake.everything else wake.job_ids:
            for watch in self._watches.get(job_id, ()):
                watch.ring()

    def _recheck_when_due(self) -> None:
        age_seconds = time.monotonic() - self._last_check
        due_seconds = RECHECK_SECONDS if self._is_unchecked else _RECHECK_AT_LEAST_SECONDS
        is_running = self._recheck is not None and not self._recheck.done()
        if self._count and age_seconds >= due_seconds and not is_running:
            # A task of its own: no watcher of a line waits for it.
            self._recheck = asyncio.create_task(self._recheck_keys())

    async def _recheck_keys(self) -> None:
        self._is_unchecked = False
        self._last_check = time.monotonic()
        held: dict[Credential, list[Watch]] = {}
        for watches in self._watches.values():
            for watch in watches:
                held.setdefault(watch.credential, []).append(watch)
        for credential, watches in held.items():
            try:
                await self._authenticator.check(credential)
            except NotPermitted:
                for watch in watches:
                    watch.end()
            except CIError as error:
                self._is_unchecked = True
                _log.warning("the keys of open streams can't be checked at present: %s", error)
                return
