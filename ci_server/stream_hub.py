"""Wakes the open event streams of this replica, and ends those whose key is no longer good.

One subscription serves all streams: the feeds of jobs that changed look at the database and ring the
bells of their watchers. Where anything may have changed, one reading finds the jobs that did. The keys
of open streams are judged anew soon after anything in the database changed, at most once in
`RECHECK_SECONDS`.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from typing import Protocol

from ci_common.errors import CIError, NotPermitted
from ci_common.ids import JobId
from ci_common.repository import JobRepository
from ci_server.auth import Authenticator, Credential
from ci_server.event_reader import EventReader
from ci_server.job_feed import JobFeed
from ci_server.watch import Watch

RECHECK_SECONDS = 1.0
_RECHECK_AT_LEAST_SECONDS = 30.0
"""Keys also expire, which changes nothing in the database."""
_LOOK_SECONDS = 15.0
"""Jobs whose bells are silent are looked at all the same."""

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


class StreamHub:
    """All open streams of this replica; `run` must be running for them to be woken."""

    def __init__(self, authenticator: Authenticator, jobs: JobRepository, reader: EventReader) -> None:
        self._authenticator = authenticator
        self._jobs = jobs
        self._reader = reader
        self._feeds: dict[JobId, JobFeed] = {}
        self._count = 0
        self.waiting_rung_at = float("-inf")
        self.has_streams = asyncio.Event()
        self._is_unchecked = False
        self._last_check = time.monotonic()
        self._recheck: asyncio.Task[None] | None = None
        self._is_unlooked = False
        self._last_look = time.monotonic()
        self._look: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return self._count

    def watches(self) -> Iterator[Watch]:
        """Of all open streams."""
        for feed in self._feeds.values():
            yield from feed.watches

    def ring_waiting(self) -> None:
        """Those whose jobs are queued may have moved on."""
        self.waiting_rung_at = time.monotonic()
        for watch in self.watches():
            if watch.is_waiting:
                watch.ring()

    @contextmanager
    def watching(self, job_id: JobId, watch: Watch) -> Generator[JobFeed]:
        """The bell rings for this job as long as the context lasts."""
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = JobFeed(job_id, self._reader)
        feed.watches.add(watch)
        self._count += 1
        self.has_streams.set()
        try:
            yield feed
        finally:
            self._count -= 1
            if not self._count:
                self.has_streams.clear()
            feed.watches.discard(watch)
            if not feed.watches:
                feed.close()
                del self._feeds[job_id]

    async def run(self, changes: WakeSource) -> None:
        """Pass on what `changes` brings, until cancelled."""
        try:
            while True:
                wake = await changes.wait(RECHECK_SECONDS)
                for job_id in wake.job_ids:
                    if job_id in self._feeds:
                        self._feeds[job_id].look()
                self._look_when_due(is_due=wake.everything)
                self._is_unchecked = self._is_unchecked or wake.everything or bool(wake.job_ids)
                self._recheck_when_due()
        finally:
            for task in (self._recheck, self._look):
                if task is not None:
                    task.cancel()

    def _look_when_due(self, *, is_due: bool) -> None:
        self._is_unlooked = self._is_unlooked or is_due or time.monotonic() - self._last_look >= _LOOK_SECONDS
        is_running = self._look is not None and not self._look.done()
        if self._count and self._is_unlooked and not is_running:
            self._look = asyncio.create_task(self._look_at_all())

    async def _look_at_all(self) -> None:
        while self._is_unlooked:
            self._is_unlooked = False
            self._last_look = time.monotonic()
            self.ring_waiting()
            try:
                last_seqs = await self._jobs.last_seqs(list(self._feeds))
            except CIError as error:
                self._is_unlooked = True
                _log.warning("the jobs of open streams can't be looked at at present: %s", error)
                return
            for job_id, last_seq in last_seqs.items():
                feed = self._feeds.get(job_id)
                if feed is not None and feed.is_behind(last_seq):
                    feed.look()

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
        for watch in self.watches():
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
