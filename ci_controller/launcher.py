"""Brings a job into a new container: create, bind, start, feed, in this order and no other.

The container's name is the job's alone, so that a second `create` of the same attempt is refused by the
engine itself; what bears the name without being bound is a dead controller's, and makes room. Only after
the fenced write that binds the container to the job is it started, and only by the process that bound it
is it ever fed. A container that was started ahead is bound just so, and gets the job's name while it is fed.
Called in the job's own turn.
"""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from ci_common.clock import utc_now
from ci_common.ids import ContainerId, Fence, InstanceId, VolumeName
from ci_common.job_times import Milestone
from ci_common.models import Job, Run, Stage
from ci_common.repository import ControllerRepository
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import ContainerRequest, EnvironmentMount, JobLimits
from ci_controller.container_view import ContainerView, Role
from ci_controller.engine_errors import NameTaken
from ci_controller.environments import Placement, plan_install, plan_test
from ci_controller.feeding import feed_stream
from ci_controller.frames import FRAMES_VERSION
from ci_controller.installer import InstallerSettings
from ci_controller.planner import JobPlan, Planner
from ci_controller.readiness import Site
from ci_controller.runner_spec import RunnerSpec
from ci_controller.seeds import seed_of
from ci_controller.settings import ControllerSettings
from ci_controller.slots import Slots, uid_of
from ci_controller.stopwatches import Stopwatches
from ci_controller.waiting import Waiting
from ci_controller.warm_pool import WarmPool, new_volume_name

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Launch:
    """A container that is bound to its job and has nothing of it yet."""

    job: Job
    container_id: ContainerId
    is_started: bool
    """It was started ahead."""
    spec: RunnerSpec
    only: frozenset[str] | None
    """The archive's entries that it gets; None for all."""


class Launcher:
    """Makes containers for one leadership."""

    def __init__(
        self,
        repository: ControllerRepository,
        manager: ContainerManager,
        planner: Planner,
        pool: WarmPool,
        slots: Slots,
        settings: ControllerSettings,
        installer: InstallerSettings,
        instance: InstanceId,
        fence: Fence,
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._planner = planner
        self._pool = pool
        self._slots = slots
        self._settings = settings
        self._installer = installer
        self._instance = instance
        self._fence = fence
        self.watches = Stopwatches()
        self.volumes_in_hand: set[VolumeName] = set()
        """New volumes that no job is bound to yet: not to be taken for orphans."""
        self._limits = JobLimits(settings.job_memory, settings.cpus, settings.job_pids)

    async def install(self, job: Job, plan: JobPlan, site: Site, time_limit_seconds: float) -> Launch | None:
        """A container that fills a new environment for `job`; None where it doesn't want it any more."""
        assert plan.environment_key is not None, "what is never kept is installed by the job itself"
        waiting = await self._pool.take_installer(job.user_id, fresh=job.options.fresh)
        assert waiting is None or waiting.owner in {None, job.user_id}, "wheels are their owner's alone"
        volume = new_volume_name(self._instance) if waiting is None else waiting.volume
        self.volumes_in_hand.add(volume)
        try:
            if waiting is None:
                await self._manager.create_volume(volume)
            mount = EnvironmentMount(volume, read_only=False)
            container_id = await self._container(job, Role.INSTALL, site, mount, waiting)
            install = plan_install(
                plan.requirements, self._installer, job.options, self._placement(job, time_limit_seconds)
            )
            run = Run(Stage.INSTALL, container_id, self._fence, volume, environment_key=plan.environment_key)
            return await self._bind(job, run, waiting, install.spec, install.paths)
        finally:
            self.volumes_in_hand.discard(volume)
            self._let_go(waiting)

    async def test(
        self, job: Job, plan: JobPlan, site: Site, time_limit_seconds: float, environment: VolumeName | None
    ) -> Launch | None:
        """A container that runs the tests of `job`; None where it doesn't want it any more."""
        if job.environment is not None:  # installed just now, for this job
            self._pool.seed(seed_of(job.user_id, plan.requirements, utc_now()))
        waiting = None if environment is None else await self._pool.take_tester(environment)
        try:
            mount = None if environment is None else EnvironmentMount(environment, read_only=True)
            container_id = await self._container(job, Role.JOB, site, mount, waiting)
            spec = plan_test(
                plan.requirements, self._installer, job.options, self._placement(job, time_limit_seconds)
            )
            run = Run(Stage.TEST, container_id, self._fence, environment)
            return await self._bind(job, run, waiting, spec, None)
        finally:
            self._let_go(waiting)

    def _let_go(self, waiting: Waiting | None) -> None:
        """It is the job's by now; where something went wrong it is nobody's, and housekeeping removes it."""
        if waiting is not None:
            self._pool.let_go(waiting)

    async def start(self, launch: Launch) -> bool:
        """See that the runner waits for its files; False where the container is gone.

        Raises:
            StartFailed: nothing of the job has run, and nothing of it will.
        """
        return launch.is_started or await self._manager.start(launch.container_id)

    async def feed(self, launch: Launch) -> None:
        """Give it its files, and its name.

        Raises:
            FeedFailed: the container didn't take them; its runner says what it saw.
            BundleRejected: the archive is damaged; the runner sees an early end.
        """
        outcomes = await asyncio.gather(
            self._manager.feed(launch.container_id, self._stream(launch)),
            self._name_started(launch),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _stream(self, launch: Launch) -> Iterator[bytes]:
        with self._planner.open(launch.job) as file:
            yield from feed_stream(launch.spec, self._planner.bundle(file), launch.only)

    def _placement(self, job: Job, time_limit_seconds: float) -> Placement:
        uid = uid_of(self._slot(job))
        return Placement(
            uid=uid,
            gid=uid,
            cpus=self._settings.cpus,
            time_limit_seconds=time_limit_seconds,
            log_limit_bytes=self._settings.max_log_bytes,
            disk_limit_bytes=self._settings.job_disk,
        )

    def _slot(self, job: Job) -> int:
        slot = self._slots.of(job.id)
        assert slot is not None, "a job that starts holds a place"
        return slot

    async def _container(
        self,
        job: Job,
        role: Role,
        site: Site,
        environment: EnvironmentMount | None,
        waiting: Waiting | None,
    ) -> ContainerId:
        """The one that waits, or a new one."""
        if waiting is not None:
            self._slots.hand_over(waiting.slot, job.id)
            return waiting.container_id
        request = ContainerRequest(
            name=self._name(job, is_install=role is Role.INSTALL),
            image=site.image,
            role=role,
            job_id=job.id,
            fence=self._fence,
            attempt=job.attempt,
            slot=self._slot(job),
            limits=self._limits,
            network=site.network,
            environment=environment,
            frames_version=FRAMES_VERSION,
        )
        try:
            return await self._manager.create(request)
        except NameTaken as taken:
            await self._make_room(taken)
            return await self._manager.create(request)

    async def _name_started(self, launch: Launch) -> None:
        if launch.is_started:
            await self._rename(launch.job, launch.container_id)

    async def name_it(self, job: Job, container: ContainerView) -> None:
        """Give what was started ahead the job's name, where an earlier controller hasn't come to it."""
        if container.role is Role.WARM and job.id not in container.name:
            await self._rename(job, container.id)

    async def _rename(self, job: Job, container_id: ContainerId) -> None:
        assert job.run is not None, "it is bound"
        name = self._name(job, is_install=job.run.stage is Stage.INSTALL)
        try:
            await self._manager.rename(container_id, name)
        except NameTaken as taken:
            await self._make_room(taken)
            await self._manager.rename(container_id, name)

    async def _make_room(self, taken: NameTaken) -> None:
        # The job is bound to nothing else, so this is what a dead controller, or a call of ours that ran out
        # of time, has left.
        if taken.existing is not None:
            await self._manager.remove(taken.existing)

    def _name(self, job: Job, *, is_install: bool) -> str:
        stage = "install-" if is_install else ""
        attempt = f"-{job.attempt}" if job.attempt > 1 else ""
        return f"{self._settings.container_prefix}{stage}{job.id}{attempt}"

    async def _bind(
        self, job: Job, run: Run, waiting: Waiting | None, spec: RunnerSpec, only: frozenset[str] | None
    ) -> Launch | None:
        container_id = run.container_id
        watch = self.watches.of(job.id)
        watch.mark(Milestone.BOUND if run.stage is Stage.TEST else Milestone.INSTALLER_BOUND)
        bound = await asyncio.shield(self._repository.bind_run(self._fence, job.id, run, watch.times))
        if bound is None:
            _log.info("job %s wants no container any more", job.id)
            await self._manager.remove(container_id)
            return None
        return Launch(bound, container_id, waiting is not None, spec, only)
