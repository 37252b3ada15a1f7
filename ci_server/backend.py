"""What stands behind the routes, and its life: opened at start, waited for where it can't be yet.

While the database is missing its schema, is of an older version or can't be opened, the server runs
and says so (503); it looks again and again, and becomes ready by itself.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sse_starlette.sse import AppStatus

from ci_common.bundle_store import BundleStore
from ci_common.content_store import ContentStore
from ci_common.errors import CIError
from ci_common.repository import JobRepository
from ci_server.archive_check import ArchiveCheck
from ci_server.auth import Authenticator, KeyUseRecorder
from ci_server.blocking import run_blocking
from ci_server.composing_turns import ComposingTurns
from ci_server.errors import NotReady
from ci_server.event_reader import EventReader
from ci_server.metrics import ReplicaMetrics
from ci_server.queue_looks import QueueLooks
from ci_server.settings import ServerSettings
from ci_server.storage import Storage, StorageOpener
from ci_server.stream_clock import StreamClock
from ci_server.stream_hub import StreamHub
from ci_server.streaming import StreamSources
from ci_server.upload import Receiver
from ci_server.waiting import ControllerWatch

_RESTART_SECONDS = 1.0
_SWEEP_SECONDS = 60.0
_CHECKERS = 2
"""Archives that are judged at the same time; further ones wait."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that routes need, once the database is open."""

    settings: ServerSettings
    jobs: JobRepository
    bundles: BundleStore
    contents: ContentStore
    receiver: Receiver
    authenticator: Authenticator
    streams: StreamSources


class Backend:
    """One for an application."""

    def __init__(self, settings: ServerSettings, open_storage: StorageOpener, retry_seconds: float) -> None:
        self.metrics = ReplicaMetrics()
        self._settings = settings
        self._open_storage = open_storage
        self._retry_seconds = retry_seconds
        self._services: Services | None = None
        self._fault = "the server is starting"

    @property
    def services(self) -> Services:
        """What routes need.

        Raises:
            NotReady: the database can't be used yet; the message says why.
        """
        if self._services is None:
            raise NotReady(self._fault)
        return self._services

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Open as soon as possible; close at the end."""
        async with AsyncExitStack() as stack:
            opening: asyncio.Task[None] | None = None
            if not await self._try_to_open(stack):
                opening = asyncio.create_task(self._open_when_possible(stack))
            try:
                yield
            finally:
                self._fault, self._services = "the server is stopping", None
                if opening is not None:
                    await _cancelled(opening)

    async def _open_when_possible(self, stack: AsyncExitStack) -> None:
        while True:
            await asyncio.sleep(self._retry_seconds)
            if await self._try_to_open(stack):
                return

    async def _try_to_open(self, stack: AsyncExitStack) -> bool:
        try:
            storage = await stack.enter_async_context(self._open_storage())
        except (CIError, OSError) as error:
            if str(error) != self._fault:
                _log.warning("not ready: %s", error)
            self._fault = str(error)
            return False
        self._services = await stack.enter_async_context(self._serving(storage))
        _log.info("ready")
        return True

    @asynccontextmanager
    async def _serving(self, storage: Storage) -> AsyncGenerator[Services]:
        recorder = KeyUseRecorder(storage.jobs)
        authenticator = Authenticator(storage.jobs, recorder.note)
        reader = EventReader(storage.jobs)
        hub = StreamHub(authenticator, storage.jobs, reader)
        clock = StreamClock(hub, self._settings, lambda: AppStatus.should_exit)
        self.metrics.count_streams(lambda: len(hub))
        streams = StreamSources(
            hub=hub,
            reader=reader,
            queue=QueueLooks(storage.jobs),
            controller=ControllerWatch(storage.jobs),
        )
        tasks = [
            asyncio.create_task(_kept_running("key use", recorder.run)),
            asyncio.create_task(_kept_running("wake-ups", lambda: hub.run(storage.changes))),
            asyncio.create_task(_kept_running("stream clock", clock.run)),
            asyncio.create_task(_kept_running("kept contents", lambda: _sweep_contents(storage.contents))),
        ]
        try:
            with ThreadPoolExecutor(_CHECKERS, "archive-check") as checkers:
                yield Services(
                    settings=self._settings,
                    jobs=storage.jobs,
                    bundles=storage.bundles,
                    contents=storage.contents,
                    receiver=Receiver(
                        bundles=storage.bundles,
                        check=ArchiveCheck(storage.bundles, storage.contents, self._settings),
                        turns=ComposingTurns(storage.jobs, self._settings.max_upload_bytes),
                        settings=self._settings,
                        checkers=checkers,
                    ),
                    authenticator=authenticator,
                    streams=streams,
                )
        finally:
            for task in tasks:
                await _cancelled(task)


async def _sweep_contents(contents: ContentStore) -> None:
    await run_blocking(contents.sweep)
    await asyncio.sleep(_SWEEP_SECONDS)


async def _kept_running(name: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run `work` again whenever it fails: without it, streams would only be served by their timers."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and streams must be served
            _log.exception("%s failed; beginning again", name)
        await asyncio.sleep(_RESTART_SECONDS)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
