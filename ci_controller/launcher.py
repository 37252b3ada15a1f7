"""Brings a job into a new container: create, bind, start, feed, in this order and no other.

The container's name is the job's alone, so that a second `create` of the same attempt is refused by the
engine itself; what bears the name without being bound is a dead controller's, and makes room. Only after
the fenced write that binds the container to the job is it started, and only by the process that bound it
is it ever fed. Called in the job's own turn.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from ci_common.ids import ContainerId, Fence, InstanceId, VolumeName
from ci_common.job_times import Milestone
from ci_common.models import Job, Run, Stage
from ci_common.repository import ControllerRepository
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import ContainerRequest, EnvironmentMount, JobLimits
from ci_controller.container_view import Role
from ci_controller.engine_errors import NameTaken
from ci_controller.environments import Placement, plan_install, plan_test
from ci_controller.feeding import feed_stream
from ci_controller.frames import FRAMES_VERSION
from ci_controller.installer import InstallerSettings
from ci_controller.planner import JobPlan, Planner
from ci_controller.runner_spec import RunnerSpec
from ci_controller.settings import ControllerSettings
from ci_controller.slots import uid_of
from ci_controller.stopwatches import Stopwatches

_log = logging.getLogger(__name__)


def new_volume_name(instance: InstanceId, key: str) -> VolumeName:
    """A name for an environment's volume that was never used; it tells the key after a crash."""
    return VolumeName(f"ci-env-{instance[:8]}-{key}-{uuid.uuid4().hex[:8]}")


def key_of_volume(volume: VolumeName) -> str:
    """The inverse of `new_volume_name`, as far as the key goes."""
    return volume.split("-")[3]


@dataclass(frozen=True, slots=True)
class Site:
    """Where containers are made at present."""

    image: str
    network: str


@dataclass(frozen=True, slots=True)
class Launch:
    """A container that is bound to its job and has not run yet."""

    job: Job
    container_id: ContainerId
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
        settings: ControllerSettings,
        installer: InstallerSettings,
        instance: InstanceId,
        fence: Fence,
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._planner = planner
        self._settings = settings
        self._installer = installer
        self._instance = instance
        self._fence = fence
        self.watches = Stopwatches()
        self.volumes_in_hand: set[VolumeName] = set()
        """New volumes that no job is bound to yet: not to be taken for orphans."""
        self._limits = JobLimits(settings.job_memory, settings.cpus, settings.job_pids)

    async def install(
        self, job: Job, plan: JobPlan, site: Site, slot: int, time_limit_seconds: float
    ) -> Launch | None:
        """A container that fills a new environment for `job`; None where it doesn't want it any more."""
        assert plan.environment_key is not None, "what is never kept is installed by the job itself"
        volume = new_volume_name(self._instance, plan.environment_key)
        self.volumes_in_hand.add(volume)
        try:
            return await self._install_into(volume, job, plan, site, slot, time_limit_seconds)
        finally:
            self.volumes_in_hand.discard(volume)

    async def _install_into(
        self,
        volume: VolumeName,
        job: Job,
        plan: JobPlan,
        site: Site,
        slot: int,
        time_limit_seconds: float,
    ) -> Launch | None:
        await self._manager.create_volume(volume)
        install = plan_install(
            plan.requirements, self._installer, job.options, self._placement(slot, time_limit_seconds)
        )
        mount = EnvironmentMount(volume, read_only=False)
        container_id = await self._create(job, Role.INSTALL, site, slot, mount)
        return await self._bind(job, Stage.INSTALL, container_id, volume, install.spec, install.paths)

    async def test(
        self,
        job: Job,
        plan: JobPlan,
        site: Site,
        slot: int,
        time_limit_seconds: float,
        environment: VolumeName | None,
    ) -> Launch | None:
        """A container that runs the tests of `job`; None where it doesn't want it any more."""
        spec = plan_test(
            plan.requirements, self._installer, job.options, self._placement(slot, time_limit_seconds)
        )
        mount = None if environment is None else EnvironmentMount(environment, read_only=True)
        container_id = await self._create(job, Role.JOB, site, slot, mount)
        return await self._bind(job, Stage.TEST, container_id, environment, spec, None)

    async def start(self, launch: Launch) -> bool:
        """Let the runner begin to wait for its files; False where the container is gone.

        Raises:
            StartFailed: nothing of the job has run, and nothing of it will.
        """
        return await self._manager.start(launch.container_id)

    async def feed(self, launch: Launch) -> None:
        """Give it its files.

        Raises:
            FeedFailed: the container didn't take them; its runner says what it saw.
            BundleRejected: the archive is damaged; the runner sees an early end.
        """
        await self._manager.feed(launch.container_id, self._stream(launch))

    def _stream(self, launch: Launch) -> Iterator[bytes]:
        with self._planner.open(launch.job) as file:
            yield from feed_stream(launch.spec, self._planner.bundle(file), launch.only)

    def _placement(self, slot: int, time_limit_seconds: float) -> Placement:
        uid = uid_of(slot)
        return Placement(
            uid=uid,
            gid=uid,
            cpus=self._settings.cpus,
            time_limit_seconds=time_limit_seconds,
            log_limit_bytes=self._settings.max_log_bytes,
            disk_limit_bytes=self._settings.job_disk,
        )

    async def _create(
        self, job: Job, role: Role, site: Site, slot: int, environment: EnvironmentMount | None
    ) -> ContainerId:
        request = ContainerRequest(
            name=self._name(job, role),
            image=site.image,
            role=role,
            job_id=job.id,
            fence=self._fence,
            attempt=job.attempt,
            slot=slot,
            limits=self._limits,
            network=site.network,
            environment=environment,
            frames_version=FRAMES_VERSION,
        )
        try:
            return await self._manager.create(request)
        except NameTaken as taken:
            # The job is bound to nothing, so this is what a dead controller, or a call of ours that ran
            # out of time, has left.
            if taken.existing is not None:
                await self._manager.remove(taken.existing)
            return await self._manager.create(request)

    def _name(self, job: Job, role: Role) -> str:
        stage = "install-" if role is Role.INSTALL else ""
        attempt = f"-{job.attempt}" if job.attempt > 1 else ""
        return f"{self._settings.container_prefix}{stage}{job.id}{attempt}"

    async def _bind(
        self,
        job: Job,
        stage: Stage,
        container_id: ContainerId,
        environment: VolumeName | None,
        spec: RunnerSpec,
        only: frozenset[str] | None,
    ) -> Launch | None:
        run = Run(stage, container_id, self._fence, environment)
        watch = self.watches.of(job.id)
        watch.mark(Milestone.BOUND if stage is Stage.TEST else Milestone.INSTALLER_BOUND)
        bound = await asyncio.shield(self._repository.bind_run(self._fence, job.id, run, watch.times))
        if bound is None:
            _log.info("job %s wants no container any more", job.id)
            await self._manager.remove(container_id)
            return None
        return Launch(bound, container_id, spec, only)
