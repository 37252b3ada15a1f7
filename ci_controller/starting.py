"""The turn of a job that wants a container: find out what it needs, decide, make the container.

Called in the job's own turn (`reconciler`), which holds a place for it.
"""

from dataclasses import dataclass
from datetime import timedelta

from ci_common.clock import utc_now
from ci_common.errors import BundleRejected, InvalidInput, NotFound
from ci_common.ids import Fence, VolumeName
from ci_common.job_times import Milestone
from ci_common.models import Job, JobStatus, Outcome, Reason, Verdict
from ci_common.repository import ControllerRepository
from ci_controller.admission import Admission
from ci_controller.decide import InstallPackages, Prospects, RunTests, StartAction, Wait, decide_start
from ci_controller.engine_errors import ImageMissing, VolumeMissing
from ci_controller.environments import is_fresh
from ci_controller.launcher import Launch, Launcher
from ci_controller.planner import JobPlan, Planner
from ci_controller.readiness import EngineReadiness, Site
from ci_controller.settings import ControllerSettings
from ci_controller.timekeeping import Timekeeping


@dataclass(frozen=True, slots=True)
class NotYet:
    """It waits, and is woken when what it waits for is there."""


@dataclass(frozen=True, slots=True)
class Untestable:
    """It can't be run as it is."""

    verdict: Verdict
    notice: str


@dataclass(frozen=True, slots=True)
class Unwanted:
    """The job or the cache has changed meanwhile: look again."""


Started = Launch | NotYet | Untestable | Unwanted


class Starter:
    """Starts jobs for one leadership."""

    def __init__(
        self,
        repository: ControllerRepository,
        planner: Planner,
        launcher: Launcher,
        readiness: EngineReadiness,
        admission: Admission,
        time: Timekeeping,
        settings: ControllerSettings,
        fence: Fence,
    ) -> None:
        self._repository = repository
        self._planner = planner
        self._launcher = launcher
        self._readiness = readiness
        self._admission = admission
        self._time = time
        self._max_age = timedelta(seconds=settings.env_max_age_seconds)
        self._fence = fence

    async def start(self, job: Job) -> Started:
        """Bring about the next container of `job`, where it can be had."""
        if job.status is JobStatus.QUEUED:
            self._time.forget(job.id)  # nothing of this attempt has begun
        elif self._admission.is_open:
            self._admission.slots.adopt(job.id, None)
        image = self._readiness.image
        if image is None or self._admission.slots.of(job.id) is None:
            return NotYet()
        try:
            plan = await self._planner.plan(job, image.id)
        except NotFound:
            return _untestable(Reason.BAD_BUNDLE, "The uploaded files are gone")
        except BundleRejected as problem:
            return _untestable(Reason.BAD_BUNDLE, str(problem))
        except InvalidInput as problem:
            return _untestable(Reason.BAD_PROJECT, str(problem))
        self._launcher.watches.of(job.id).mark(Milestone.PLANNED)
        return await self._carry_out(job, plan, decide_start(await self._prospects(job, plan)))

    async def _prospects(self, job: Job, plan: JobPlan) -> Prospects:
        key = plan.environment_key
        usable = None if key is None else await self._usable_environment(job, key)
        # Nothing is awaited from here until `begin_install`: two jobs can't both find nobody installing.
        installing = None if key is None else self._admission.installer_of(key)
        return Prospects(
            readiness=self._readiness.now,
            has_slot=self._admission.slots.of(job.id) is not None,
            usable_environment=usable,
            installs_itself=key is None,
            installing_job=None if installing == job.id else installing,
        )

    async def _usable_environment(self, job: Job, key: str) -> VolumeName | None:
        if job.environment is not None:
            return job.environment
        if job.options.fresh:
            return None
        found = await self._repository.environment(key)
        return found.volume if found is not None and is_fresh(found, utc_now(), self._max_age) else None

    async def _carry_out(self, job: Job, plan: JobPlan, action: StartAction) -> Started:
        match action:
            case Wait(reason):
                return await self._wait(job, plan, reason)
            case InstallPackages():
                return await self._install(job, plan)
            case RunTests(environment):
                return await self._test(job, plan, environment)

    async def _wait(self, job: Job, plan: JobPlan, reason: str | None) -> Started:
        key = plan.environment_key
        if job.status is JobStatus.QUEUED:
            if key is not None and self._admission.installer_of(key) is not None:
                self._admission.park(job.id, key)
            else:
                self._admission.release(job.id)
            await self._repository.set_waiting(self._fence, job.id, reason)
        return NotYet()

    async def _install(self, job: Job, plan: JobPlan) -> Started:
        assert plan.environment_key is not None, "what is never kept is installed by the job itself"
        self._admission.begin_install(plan.environment_key, job.id)
        try:
            launch = await self._launcher.install(job, plan, self._site(), self._time.left_seconds(job.id))
        except ImageMissing:
            self._readiness.begin_again()
            raise
        return launch or Unwanted()

    async def _test(self, job: Job, plan: JobPlan, environment: VolumeName | None) -> Started:
        try:
            launch = await self._launcher.test(
                job, plan, self._site(), self._time.left_seconds(job.id), environment
            )
        except ImageMissing:
            self._readiness.begin_again()
            raise
        except VolumeMissing:
            assert environment is not None, "only an environment's volume can be missing"
            await self._miss(job, environment)
            return Unwanted()
        if environment is not None:
            await self._repository.use_environment(self._fence, environment, utc_now())
        return launch or Unwanted()

    async def _miss(self, job: Job, environment: VolumeName) -> None:
        """Its volume is gone: the cache is asked anew in the next turn."""
        await self._repository.forget_environment(self._fence, environment)
        if job.status is JobStatus.RUNNING:
            await self._repository.requeue(self._fence, job.id, None, None, uses_attempt=False)

    def _site(self) -> Site:
        site = self._readiness.site
        assert site is not None, "nothing stood in the way a moment ago"
        return site


def _untestable(reason: Reason, notice: str) -> Untestable:
    return Untestable(Verdict(Outcome.ERROR, reason=reason), notice)
