"""One job's turn: look, decide, act.

Desired state (the database) and actual state (the engine) are looked at afresh, `decide` names one step,
and this module takes it; whatever it learns or brings about wakes the job again. Nothing here is
remembered that could not be found out again after a crash. Invariants: a job's turns never overlap
(`work_queue`); a container is removed only in its job's turn, by id, after a look of that turn; a job
that holds no slot is not started.
"""

import asyncio
import logging
import signal as signals
from dataclasses import dataclass, field
from datetime import timedelta

from ci_common.bundle_store import BundleStore
from ci_common.clock import utc_now
from ci_common.errors import (
    BundleRejected,
    CIError,
    EngineUnavailable,
    FenceLost,
    InvalidInput,
    NotFound,
)
from ci_common.event_data import notice_data
from ci_common.ids import ContainerId, Fence, JobId, VolumeName
from ci_common.models import Environment, Job, JobStatus, Outcome, Reason, Stage, Verdict
from ci_common.repository import ControllerRepository
from ci_controller.attempts import Attempt, Attempts
from ci_controller.container_manager import ContainerManager
from ci_controller.decide import (
    Action,
    AskToStop,
    Attend,
    CleanUp,
    Complete,
    Install,
    Kill,
    LoseEnvironment,
    Nothing,
    Prospects,
    Requeue,
    Seen,
    Start,
    StartAction,
    Stopping,
    Test,
    Wait,
    decide,
    decide_start,
)
from ci_controller.engine_errors import FeedFailed, ImageMissing, StartFailed, VolumeMissing
from ci_controller.environments import is_fresh
from ci_controller.frames import RunnerResult
from ci_controller.launcher import Launch, Launcher, Site, key_of_volume
from ci_controller.planner import JobPlan, Planner
from ci_controller.pump import Pump
from ci_controller.readiness import EngineReadiness
from ci_controller.settings import ControllerSettings
from ci_controller.settle import Drained, Installed, LastWord, NeverFed, Settlement, settle
from ci_controller.slots import Slots
from ci_controller.work_queue import WorkQueue

RUNNER_MARGIN_SECONDS = 60.0
"""What the runner may take beyond the time limit, feeding included, before it is ended from outside."""

RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Memory:
    """What one leadership knows beside database and engine; all of it only makes things quicker."""

    slots: Slots
    installing: dict[str, JobId] = field(default_factory=dict[str, JobId])
    """Environment key → the job that fills it at present."""
    parked: dict[JobId, str] = field(default_factory=dict[JobId, str])
    """Queued jobs that wait for an environment → its key."""
    started_at: dict[JobId, float] = field(default_factory=dict[JobId, float])
    """When the present attempt began, on the event loop's clock."""
    leftovers: dict[JobId, set[ContainerId]] = field(default_factory=dict[JobId, set[ContainerId]])
    """Containers that a listing has shown for a job beside the one that it is bound to, or that are to go."""


class Reconciler:
    """Takes turns for one leadership."""

    def __init__(
        self,
        repository: ControllerRepository,
        manager: ContainerManager,
        bundles: BundleStore,
        planner: Planner,
        launcher: Launcher,
        readiness: EngineReadiness,
        settings: ControllerSettings,
        fence: Fence,
        admission: asyncio.Event,
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._bundles = bundles
        self._planner = planner
        self._launcher = launcher
        self._readiness = readiness
        self._settings = settings
        self._fence = fence
        self._loop = asyncio.get_running_loop()
        self._admission = admission
        self.memory = Memory(Slots(settings.capacity))
        self.queue = WorkQueue(self.turn)
        self.attempts = Attempts(self._attempt_ended)

    def wake(self, job_id: JobId) -> None:
        """Something about the job has changed; a job that holds no place waits for admission."""
        if self.memory.slots.of(job_id) is not None:
            self.queue.add(job_id)

    # Admission: who among the queued may start

    def admit_soon(self) -> None:
        """Queued jobs may have come, or places may be free."""
        self._admission.set()

    async def keep_admitting(self) -> None:
        """Give free places to queued jobs in the order of their submission, until cancelled."""
        while True:
            await self._admission.wait()
            self._admission.clear()
            await self._admit()

    async def _admit(self) -> None:
        slots, parked = self.memory.slots, self.memory.parked
        if self._readiness.now.obstacle is not None or not slots.free:
            return
        for job in await self._repository.queued_jobs(slots.free + len(parked) + self._settings.capacity):
            if job.id in parked or slots.of(job.id) is not None:
                continue
            if not slots.take(job.id):
                return
            self.queue.add(job.id)

    def _release(self, job_id: JobId) -> None:
        self.memory.slots.give_back(job_id)
        self.memory.started_at.pop(job_id, None)
        self._end_install(job_id)
        self.admit_soon()

    def _end_install(self, job_id: JobId) -> None:
        for key in [key for key, builder in self.memory.installing.items() if builder == job_id]:
            del self.memory.installing[key]
            for waiting in [job for job, wanted in self.memory.parked.items() if wanted == key]:
                del self.memory.parked[waiting]
        self.admit_soon()

    # Turns

    async def turn(self, job_id: JobId) -> None:
        """Take one step for the job."""
        try:
            await self._step(job_id)
            await self._remove_leftovers(job_id)
        except EngineUnavailable:
            self._readiness.invalidate()
            raise

    async def _step(self, job_id: JobId) -> None:
        try:
            job = await self._repository.get_job(job_id)
        except NotFound:
            self._forget(job_id)
            return
        seen = await self._look(job)
        await self._apply(job, seen, decide(job, seen, self._fence))

    async def _look(self, job: Job) -> Seen:
        attempt = None if job.run is None else self.attempts.of(job.id, job.run.container_id)
        now = self._loop.time()
        container = None
        if job.run is not None:
            container = await self._manager.inspect(job.run.container_id)
        return Seen(
            container=container,
            attended=attempt is not None and attempt.attended,
            last_word=None if attempt is None else attempt.last_word,
            stopping=Stopping.NO if attempt is None else attempt.stopping(now),
            past_deadline=attempt is not None and attempt.past_deadline(now),
            failed_launches=self.attempts.failed_launches.get(job.id, 0),
        )

    async def _apply(self, job: Job, seen: Seen, action: Action) -> None:
        match action:
            case Nothing():
                pass
            case Start():
                await self._start(job)
            case Attend():
                self._attend(job, seen)
            case AskToStop():
                await self._ask_to_stop(job, seen)
            case Kill():
                await self._kill(job, seen)
            case Complete(verdict, notice):
                await self._complete(job, verdict, notice)
            case Requeue(notice, uses_attempt):
                await self._requeue(job, notice, uses_attempt=uses_attempt)
            case LoseEnvironment():
                await self._lose_environment(job)
            case CleanUp():
                await self._clean_up(job.id)

    # Starting

    async def _start(self, job: Job) -> None:
        if job.status is JobStatus.RUNNING:
            self.memory.slots.adopt(job.id, None)
        if self._readiness.now.obstacle is not None or self.memory.slots.of(job.id) is None:
            await self._carry_out(job, None, Wait(self._readiness.now.obstacle))
            return
        image = self._readiness.image
        assert image is not None, "ready means that there is an image"
        try:
            plan = await self._planner.plan(job, image.id)
        except NotFound:
            await self._complete(job, Verdict(Outcome.ERROR, reason=Reason.BAD_BUNDLE), "The files are gone")
            return
        except BundleRejected as problem:
            await self._complete(job, Verdict(Outcome.ERROR, reason=Reason.BAD_BUNDLE), str(problem))
            return
        except InvalidInput as problem:
            await self._complete(job, Verdict(Outcome.ERROR, reason=Reason.BAD_PROJECT), str(problem))
            return
        await self._carry_out(job, plan, decide_start(await self._prospects(job, plan)))

    async def _prospects(self, job: Job, plan: JobPlan) -> Prospects:
        key = plan.environment_key
        installing = None if key is None else self.memory.installing.get(key)
        return Prospects(
            readiness=self._readiness.now,
            has_slot=True,
            usable_environment=None if key is None else await self._usable_environment(job, key),
            installs_itself=key is None,
            installing_job=None if installing == job.id else installing,
        )

    async def _usable_environment(self, job: Job, key: str) -> VolumeName | None:
        if job.environment is not None:
            return job.environment
        if job.options.fresh:
            return None
        found = await self._repository.environment(key)
        max_age = timedelta(seconds=self._settings.env_max_age_seconds)
        if found is None or not is_fresh(found, utc_now(), max_age):
            return None
        return found.volume

    async def _carry_out(self, job: Job, plan: JobPlan | None, action: StartAction) -> None:
        match action:
            case Wait(reason):
                await self._wait(job, plan, reason)
            case Install():
                assert plan is not None, "an installation has a plan"
                await self._install(job, plan)
            case Test(environment):
                assert plan is not None, "a test run has a plan"
                await self._test(job, plan, environment)

    async def _wait(self, job: Job, plan: JobPlan | None, reason: str | None) -> None:
        if job.status is JobStatus.RUNNING:
            return
        if plan is not None and plan.environment_key in self.memory.installing:
            self.memory.parked[job.id] = plan.environment_key
        await self._repository.set_waiting(self._fence, job.id, reason)
        self.memory.slots.give_back(job.id)
        self.admit_soon()

    async def _install(self, job: Job, plan: JobPlan) -> None:
        assert plan.environment_key is not None, "what is never kept is installed by the job itself"
        self.memory.installing[plan.environment_key] = job.id
        try:
            launch = await self._launcher.install(
                job, plan, self._site(), self._slot(job), self._time_left(job)
            )
        except ImageMissing:
            self._readiness.invalidate()
            raise
        await self._launched(job, launch)

    async def _test(self, job: Job, plan: JobPlan, environment: VolumeName | None) -> None:
        try:
            launch = await self._launcher.test(
                job, plan, self._site(), self._slot(job), self._time_left(job), environment
            )
        except ImageMissing:
            self._readiness.invalidate()
            raise
        except VolumeMissing:
            assert environment is not None, "only an environment's volume can be missing"
            await self._forget_environment(job, environment)
            return
        if environment is not None:
            await self._repository.use_environment(self._fence, environment, utc_now())
        await self._launched(job, launch)

    async def _launched(self, job: Job, launch: Launch | None) -> None:
        if launch is None:
            self.queue.add(job.id)
            return
        remarks = self._remarks(launch)
        if remarks:
            await self._repository.add_events(self._fence, job.id, [notice_data(text) for text in remarks])
        attempt = self.attempts.open(job.id, launch.container_id, self._deadline(job))
        self.attempts.attend(attempt, self._run(launch, attempt))

    def _remarks(self, launch: Launch) -> list[str]:
        if launch.job.attempt == 1 and self._readiness.network.reason:
            return [f"Network: {self._readiness.network.reason}"]
        return []

    def _site(self) -> Site:
        image = self._readiness.image
        assert image is not None, "ready means that there is an image"
        return Site(image.name, self._readiness.network_name)

    def _slot(self, job: Job) -> int:
        slot = self.memory.slots.of(job.id)
        assert slot is not None, "a job that starts holds a place"
        return slot

    def _time_left(self, job: Job) -> float:
        started_at = self.memory.started_at.setdefault(job.id, self._loop.time())
        return max(1.0, self._settings.job_timeout_seconds - (self._loop.time() - started_at))

    def _deadline(self, job: Job) -> float:
        return self._loop.time() + self._time_left(job) + RUNNER_MARGIN_SECONDS

    # Attending

    def _attend(self, job: Job, seen: Seen) -> None:
        assert job.run is not None, "there is a container"
        self.memory.slots.adopt(job.id, None if seen.container is None else seen.container.slot)
        if job.run.stage is Stage.INSTALL and job.run.environment is not None:
            self.memory.installing.setdefault(key_of_volume(job.run.environment), job.id)
        attempt = self.attempts.open(job.id, job.run.container_id, self._deadline(job))
        self.attempts.attend(attempt, self._pump(job, attempt).run())

    async def _run(self, launch: Launch, attempt: Attempt) -> LastWord:
        try:
            if not await self._launcher.start(launch):
                return Drained()
        except StartFailed as problem:
            _log.warning("job %s: %s", launch.job.id, problem)
            return NeverFed()
        feeding = asyncio.create_task(self._launcher.feed(launch), name=f"feed {launch.job.id}")
        try:
            last_word = await self._pump(launch.job, attempt).run()
            return await self._after_feeding(launch, feeding, last_word)
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])

    async def _after_feeding(
        self, launch: Launch, feeding: asyncio.Task[None], last_word: LastWord
    ) -> LastWord:
        """The runner's word stands, unless the files themselves were the reason why it never began."""
        if not isinstance(last_word, NeverFed):
            return last_word
        try:
            await feeding
        except BundleRejected as problem:
            _log.warning("job %s: %s", launch.job.id, problem)
            return Verdict(Outcome.ERROR, reason=Reason.BAD_BUNDLE)
        except FeedFailed as problem:
            _log.warning("job %s: %s", launch.job.id, problem)
        return last_word

    def _pump(self, job: Job, attempt: Attempt) -> Pump:
        def judge(latest: Job, result: RunnerResult) -> Settlement:
            return settle(latest, result, past_deadline=attempt.past_deadline(self._loop.time()))

        return Pump(self._repository, self._manager, self._fence, job, judge, self._environment_of)

    def _environment_of(self, job: Job) -> Environment:
        assert job.run is not None, "an installation has a container"
        assert job.run.environment is not None, "an installation fills a volume"
        now = utc_now()
        volume = job.run.environment
        return Environment(key_of_volume(volume), job.user_id, volume, created_at=now, last_used_at=now)

    def _attempt_ended(self, attempt: Attempt, problem: BaseException | None) -> None:
        job_id = attempt.job_id
        if isinstance(problem, FenceLost):
            self.queue.fail(problem)
        elif problem is not None:
            _log.warning("job %s: %s", job_id, problem, exc_info=_trace(problem))
            if isinstance(problem, EngineUnavailable):
                self._readiness.invalidate()
            self.queue.add_after(job_id, RETRY_SECONDS)
        else:
            self._note_last_word(attempt, attempt.last_word)
            self.queue.add(job_id)

    def _note_last_word(self, attempt: Attempt, last_word: LastWord | None) -> None:
        job_id = attempt.job_id
        match last_word:
            case NeverFed():
                failed = self.attempts.failed_launches
                failed[job_id] = failed.get(job_id, 0) + 1
            case Installed():
                self._leave(job_id, attempt.container_id)
                self._end_install(job_id)
            case Verdict():
                self._leave(job_id, attempt.container_id)
                self._release(job_id)
            case _:
                pass

    # Ending

    async def _ask_to_stop(self, job: Job, seen: Seen) -> None:
        assert job.run is not None, "there is a container"
        if not seen.attended:
            self._attend(job, seen)
        attempt = self.attempts.of(job.id, job.run.container_id)
        assert attempt is not None, "it is attended"
        attempt.stop_asked_at = self._loop.time()
        await self._manager.signal(job.run.container_id, signals.SIGTERM)

    async def _kill(self, job: Job, seen: Seen) -> None:
        assert job.run is not None, "there is a container"
        await self._manager.kill(job.run.container_id)
        if not seen.attended:
            self._attend(job, seen)

    async def _complete(self, job: Job, verdict: Verdict, notice: str | None) -> None:
        events = [] if notice is None else [notice_data(notice)]
        await self._repository.complete(self._fence, job.id, verdict, events)
        self._leave_run(job)
        await self._clean_up(job.id)

    async def _requeue(self, job: Job, notice: str | None, *, uses_attempt: bool) -> None:
        assert job.run is not None, "there was a container"
        await self._repository.requeue(
            self._fence, job.id, job.run.container_id, notice, uses_attempt=uses_attempt
        )
        self._leave_run(job)
        if uses_attempt:
            self.attempts.failed_launches.pop(job.id, None)
        self._release(job.id)
        self.queue.add(job.id)

    async def _lose_environment(self, job: Job) -> None:
        assert job.run is not None, "there was a container"
        if job.run.environment is not None:
            await self._repository.forget_environment(self._fence, job.run.environment)
        await self._requeue(job, None, uses_attempt=False)

    async def _forget_environment(self, job: Job, environment: VolumeName) -> None:
        """Its volume is gone: a miss of the cache, and another turn."""
        await self._repository.forget_environment(self._fence, environment)
        if job.status is JobStatus.RUNNING:
            await self._repository.requeue(self._fence, job.id, None, None, uses_attempt=False)
        self._release(job.id)
        self.queue.add(job.id)

    async def _clean_up(self, job_id: JobId) -> None:
        await asyncio.to_thread(self._bundles.delete, job_id)
        self._forget(job_id)

    def _forget(self, job_id: JobId) -> None:
        self.attempts.forget(job_id)
        self.attempts.failed_launches.pop(job_id, None)
        self._planner.forget(job_id)
        self.memory.parked.pop(job_id, None)
        self._release(job_id)

    # What is left of containers

    def _leave_run(self, job: Job) -> None:
        if job.run is not None:
            self._leave(job.id, job.run.container_id)
            self.attempts.forget(job.id)

    def _leave(self, job_id: JobId, container_id: ContainerId) -> None:
        self.memory.leftovers.setdefault(job_id, set()).add(container_id)

    def suspect(self, job_id: JobId, container_id: ContainerId) -> None:
        """A listing has shown a container that the job is not bound to: look at it in the job's turn."""
        self._leave(job_id, container_id)
        self.queue.add(job_id)

    async def _remove_leftovers(self, job_id: JobId) -> None:
        suspects = self.memory.leftovers.pop(job_id, None)
        if not suspects:
            return
        try:
            run = (await self._repository.get_job(job_id)).run
        except NotFound:
            run = None
        bound = None if run is None else run.container_id
        for container_id in suspects - {bound}:
            try:
                await self._manager.remove(container_id)
            except CIError:
                self._leave(job_id, container_id)
                raise


def _trace(problem: BaseException) -> BaseException | None:
    """What is expected needs no trace of calls in the log."""
    return None if isinstance(problem, CIError) else problem
