"""The reconciler's life: wait for the lease, lead, leave.

While it leads, tasks run side by side: beats, the engine's readiness, admission of queued jobs, wake-ups
from the database, hints from the engine, and every interval a full listing. All but the last only make it
fast: with them cut off it still works, more slowly. The first task that fails for good ends the
leadership; jobs go on in their containers and the next leader takes them over.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from ci_common.errors import CIError, EngineUnavailable, FenceLost
from ci_common.models import Lease
from ci_controller import leadership
from ci_controller.container_manager import ContainerManager
from ci_controller.housekeeping import SWEEP_SECONDS, Housekeeping
from ci_controller.index_hosts import index_hosts
from ci_controller.installer import InstallerSettings
from ci_controller.launcher import Launcher
from ci_controller.network import NetworkPolicy
from ci_controller.planner import Planner
from ci_controller.readiness import EngineReadiness
from ci_controller.reconciler import Reconciler
from ci_controller.seeds import Seeder
from ci_controller.settings import ControllerSettings
from ci_controller.slots import Slots
from ci_controller.warm_pool import WarmPool
from ci_persistence.bundle_files import DirectoryBundleStore
from ci_persistence.change_feed import Audience, ChangeFeed
from ci_persistence.data_paths import DataPaths
from ci_persistence.migrations_runner import migrate
from ci_persistence.sqlite_repository import SQLiteJobRepository

RETRY_SECONDS = 1.0
WAKE_TIMEOUT_SECONDS = 30.0

_log = logging.getLogger(__name__)


async def run(paths: DataPaths, settings: ControllerSettings, stop: asyncio.Event) -> None:
    """Lead whenever the lease is free, until `stop` is set.

    Raises:
        FenceLost: another controller has taken over; this process must end.
        SchemaMismatch: the database is newer or foreign.
    """
    await migrate(paths.db_path)
    repository = SQLiteJobRepository(paths.db_path, owns_checkpoints=True)
    await repository.initialize()
    try:
        lease = await _until(stop, leadership.take(repository))
        if lease is not None:
            _log.info("leading, fence %d", lease.fence)
            await _lead(paths, settings, repository, lease, stop)
            await repository.leave_lease(lease.fence)
            _log.info("left; running jobs go on")
    finally:
        await repository.close()


async def _until(stop: asyncio.Event, work: Awaitable[Lease]) -> Lease | None:
    """The result of `work`; None, and `work` cancelled, where `stop` comes first."""
    task, stopping = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for pending in (task, stopping):
            pending.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)


async def _lead(
    paths: DataPaths,
    settings: ControllerSettings,
    repository: SQLiteJobRepository,
    lease: Lease,
    stop: asyncio.Event,
) -> None:
    instance = await repository.instance_id()
    pip_conf = None if settings.pip_conf is None else settings.pip_conf.read_text(encoding="utf-8")
    ca_bundle = None if settings.ca_bundle is None else settings.ca_bundle.read_text(encoding="utf-8")
    installer = InstallerSettings.from_texts(pip_conf, ca_bundle)
    bundles = DirectoryBundleStore(paths.data_dir, instance)
    planner = Planner(bundles, installer, settings.job_disk)
    policy = NetworkPolicy(
        settings.job_network_allow_host, frozenset() if pip_conf is None else index_hosts(pip_conf)
    )
    beat = leadership.Beat(lease)
    async with ContainerManager(instance) as manager:
        slots, news = Slots(settings.capacity), asyncio.Event()
        readiness = EngineReadiness(manager, settings, policy, beat, news.set)
        seeder = Seeder(manager, installer, settings.cpus)
        pool = WarmPool(repository, manager, readiness, slots, seeder, settings, instance, lease.fence)
        launcher = Launcher(
            repository, manager, planner, pool, slots, settings, installer, instance, lease.fence
        )
        reconciler = Reconciler(
            repository,
            manager,
            bundles,
            planner,
            launcher,
            pool,
            slots,
            readiness,
            settings,
            lease.fence,
            news,
        )
        housekeeping = Housekeeping(
            repository, manager, bundles, launcher, pool, reconciler, settings, lease.fence
        )
        leader = _Leader(repository, manager, reconciler, housekeeping, pool, readiness, beat, settings)
        await leader.lead(paths, stop)


class _Leader:
    """The tasks of one leadership."""

    def __init__(
        self,
        repository: SQLiteJobRepository,
        manager: ContainerManager,
        reconciler: Reconciler,
        housekeeping: Housekeeping,
        pool: WarmPool,
        readiness: EngineReadiness,
        beat: leadership.Beat,
        settings: ControllerSettings,
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._reconciler = reconciler
        self._housekeeping = housekeeping
        self._pool = pool
        self._readiness = readiness
        self._beat = beat
        self._interval_seconds = settings.reconcile_interval

    async def lead(self, paths: DataPaths, stop: asyncio.Event) -> None:
        """Lead until `stop` is set.

        Raises:
            FenceLost: another controller leads.
        """
        feed = ChangeFeed(paths.db_path, Audience.CONTROLLER)
        await feed.start()
        tasks = [
            asyncio.create_task(work, name=name)
            for name, work in (
                ("beats", leadership.keep_beating(self._repository, self._beat)),
                ("readiness", self._readiness.keep()),
                ("admission", self._again_after_errors(self._reconciler.admission.keep_admitting)),
                ("starting ahead", self._again_after_errors(self._pool.keep)),
                ("changes", self._follow_changes(feed)),
                ("engine events", self._again_after_errors(self._follow_engine)),
                ("listing", self._every(self._interval_seconds, self._list)),
                ("sweep", self._every(SWEEP_SECONDS, self._sweep)),
                ("stop", self._wait(stop)),
            )
        ]
        try:
            done, _ = await asyncio.wait(
                [*tasks, self._reconciler.queue.fatal], return_when=asyncio.FIRST_COMPLETED
            )
            for ended in done:
                ended.result()
        finally:
            # Turns first: a container that is being bound is then bound, or removed.
            await self._reconciler.queue.close()
            await self._reconciler.attempts.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._pool.close()
            await feed.close()

    async def _wait(self, stop: asyncio.Event) -> None:
        await stop.wait()

    async def _follow_changes(self, feed: ChangeFeed) -> None:
        subscription = feed.subscribe(None)
        while True:
            wake = await subscription.wait(WAKE_TIMEOUT_SECONDS)
            for job_id in wake.job_ids:
                self._reconciler.wake(job_id)
            if wake.everything:
                await self._guarded(self._wake_running)
            self._reconciler.admission.admit_soon()

    async def _follow_engine(self) -> None:
        try:
            async with aclosing(self._manager.engine_events()) as events:
                async for container_id in events:
                    job_id = self._reconciler.attempts.job_of(container_id)
                    if job_id is not None:
                        self._reconciler.queue.add(job_id)
                    else:
                        self._pool.has_changed(container_id)
        finally:
            self._readiness.begin_again()

    async def _list(self) -> None:
        await self._wake_running()
        self._reconciler.admission.admit_soon()
        if self._readiness.now.obstacle is None:
            await self._housekeeping.look_at_containers()
            self._reconciler.start_ahead()

    async def _sweep(self) -> None:
        if self._readiness.now.obstacle is None:
            await self._housekeeping.sweep()

    async def _wake_running(self) -> None:
        for job in await self._repository.running_jobs():
            self._reconciler.queue.add(job.id)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._guarded(work)
            await asyncio.sleep(seconds)

    async def _again_after_errors(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._guarded(work)
            await asyncio.sleep(RETRY_SECONDS)

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work`; what passes by itself is logged, and the next round tries again."""
        try:
            await work()
        except FenceLost:
            raise
        except EngineUnavailable as problem:
            _log.debug("%s", problem)
            self._readiness.look_again()
        except CIError as problem:
            _log.warning("%s", problem)
        except Exception:  # noqa: BLE001 - a round that fails is one round; the next one tries again
            _log.exception("a background round failed")
