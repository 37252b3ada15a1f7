"""Finds what nothing refers to any more: containers, volumes, environments past their age, bundles.

Listings only raise suspicion; a container is removed in its job's own turn, after a fresh look, because
a listing may show one that is just being bound. Volumes and bundles that are in use are protected by the
engine and by the database's write lock.
"""

import asyncio
import logging
from datetime import timedelta

from ci_common.bundle_store import BundleStore
from ci_common.clock import utc_now
from ci_common.errors import CIError
from ci_common.ids import ContainerId, Fence, VolumeName
from ci_common.models import JobStatus
from ci_common.repository import ControllerRepository
from ci_controller.container_manager import ContainerManager
from ci_controller.container_view import Role
from ci_controller.engine_errors import EngineRefused
from ci_controller.environments import is_fresh
from ci_controller.launcher import Launcher
from ci_controller.reconciler import Reconciler
from ci_controller.settings import ControllerSettings
from ci_controller.warm_pool import WarmPool

SWEEP_SECONDS = 60.0
HELPER_AGE_SECONDS = 1800.0

_log = logging.getLogger(__name__)


class Housekeeping:
    """Cleans up for one leadership."""

    def __init__(
        self,
        repository: ControllerRepository,
        manager: ContainerManager,
        bundles: BundleStore,
        launcher: Launcher,
        pool: WarmPool,
        reconciler: Reconciler,
        settings: ControllerSettings,
        fence: Fence,
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._bundles = bundles
        self._launcher = launcher
        self._pool = pool
        self._reconciler = reconciler
        self._max_age = timedelta(seconds=settings.env_max_age_seconds)
        self._fence = fence
        self._going: dict[ContainerId, asyncio.Task[None]] = {}

    async def look_at_containers(self) -> None:
        """Give a turn to every job that has a container which it isn't bound to."""
        views = await self._manager.list()
        # In this order: what is bound after the names were read is seen among the running jobs.
        waiting = self._pool.names
        bound = {job.run.container_id for job in await self._repository.running_jobs() if job.run is not None}
        now = utc_now()
        jobs = await self._repository.jobs_by_id([view.job_id for view in views if view.job_id is not None])
        for view in views:
            if view.role in {Role.WARM, Role.FETCH}:
                if view.name not in waiting and view.id not in bound:
                    self._remove_soon(view.id)
                continue
            if view.job_id is None or view.role not in {Role.JOB, Role.INSTALL}:
                if now - view.created_at > timedelta(seconds=HELPER_AGE_SECONDS):
                    self._remove_soon(view.id)
                continue
            job = jobs.get(view.job_id)
            run = None if job is None or job.status is JobStatus.COMPLETED else job.run
            if run is None or run.container_id != view.id:
                self._reconciler.suspect(view.job_id, view.id)

    def _remove_soon(self, container_id: ContainerId) -> None:
        """In a task of its own: an engine that hangs over one container must not hold up the listing."""
        if container_id not in self._going:
            self._going[container_id] = asyncio.create_task(
                self._remove(container_id), name="remove leftover"
            )

    async def _remove(self, container_id: ContainerId) -> None:
        try:
            await self._manager.remove(container_id)
        except CIError as problem:
            _log.warning("container %s stays for now: %s", container_id, problem)
        finally:
            del self._going[container_id]

    async def sweep(self) -> None:
        """Remove environments past their age, volumes without one, and bundles without a job."""
        for environment in await self._repository.list_environments():
            if not is_fresh(environment, utc_now(), self._max_age):
                await self._repository.forget_environment(self._fence, environment.volume)
        await self._sweep_volumes()
        await self._repository.sweep_bundles(self._bundles)

    async def _sweep_volumes(self) -> None:
        # In this order: what is bound or becomes an environment after the listing is not in it.
        found = {view.name for view in await self._manager.list_volumes()}
        for name in found - await self._volumes_in_use():
            try:
                await self._manager.remove_volume(name)
            except EngineRefused as problem:
                _log.info("volume %s stays for now: %s", name, problem)

    async def _volumes_in_use(self) -> set[VolumeName]:
        in_use = {environment.volume for environment in await self._repository.list_environments()}
        for job in await self._repository.running_jobs():
            in_use |= {job.environment} if job.environment is not None else set[VolumeName]()
            if job.run is not None and job.run.environment is not None:
                in_use.add(job.run.environment)
        return in_use | self._launcher.volumes_in_hand | self._pool.volumes
