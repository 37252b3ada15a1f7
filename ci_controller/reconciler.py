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

from ci_common.bundle_store import BundleStore
from ci_common.errors import (
    CIError,
    EngineUnavailable,
    FenceLost,
    NotFound,
    StorageBusy,
)
from ci_common.event_data import notice_data
from ci_common.ids import ContainerId, Fence, JobId
from ci_common.models import Job, JobStatus, Outcome, Reason, Verdict
from ci_common.repository import ControllerRepository
from ci_controller.admission import Admission
from ci_controller.attempts import ASK_AGAIN_SECONDS, Attempt, Attempts
from ci_controller.attendant import Attendant
from ci_controller.container_manager import ContainerManager
from ci_controller.decide import (
    Action,
    AskToStop,
    Attend,
    CleanUp,
    Complete,
    Kill,
    LoseEnvironment,
    Nothing,
    Requeue,
    Seen,
    Start,
    Stopping,
    decide,
)
from ci_controller.launcher import Launch, Launcher
from ci_controller.planner import Planner
from ci_controller.readiness import EngineReadiness
from ci_controller.settings import ControllerSettings
from ci_controller.settle import Installed, LastWord, NeverFed
from ci_controller.slots import Slots
from ci_controller.starting import NotYet, Starter, Untestable, Unwanted
from ci_controller.timekeeping import Timekeeping
from ci_controller.warm_pool import WarmPool
from ci_controller.work_queue import WorkQueue

RETRY_SECONDS = 1.0
MAX_FAILED_TURNS = 8
"""In a row, of a job that is bound to no container, for no reason that passes by itself."""

_log = logging.getLogger(__name__)


class Reconciler:
    """Takes turns for one leadership."""

    def __init__(
        self,
        repository: ControllerRepository,
        manager: ContainerManager,
        bundles: BundleStore,
        planner: Planner,
        launcher: Launcher,
        pool: WarmPool,
        slots: Slots,
        readiness: EngineReadiness,
        settings: ControllerSettings,
        fence: Fence,
        news: asyncio.Event,
    ) -> None:
        """`news` is set whenever a queued job might be able to start."""
        self._repository = repository
        self._manager = manager
        self._bundles = bundles
        self._planner = planner
        self._launcher = launcher
        self._pool = pool
        self._readiness = readiness
        self._fence = fence
        self._loop = asyncio.get_running_loop()
        self._leftovers: dict[JobId, set[ContainerId]] = {}
        self._time = Timekeeping(settings.job_timeout_seconds)
        self.queue = WorkQueue(self.turn)
        self.attempts = Attempts(self._attempt_ended)
        self.admission = Admission(repository, manager, readiness, self.queue, slots, launcher.watches, news)
        self._attendant = Attendant(repository, manager, launcher, fence)
        self._starter = Starter(
            repository, planner, launcher, readiness, self.admission, self._time, settings, fence
        )

    def wake(self, job_id: JobId) -> None:
        """Something about the job has changed; one that is not known yet waits for admission."""
        if self.admission.slots.of(job_id) is not None or self._planner.knows(job_id):
            self.queue.add(job_id)

    # Turns

    async def turn(self, job_id: JobId) -> None:
        """Take one step for the job."""
        try:
            await self._step(job_id)
            await self._remove_leftovers(job_id)
        except EngineUnavailable:
            self._readiness.look_again()
            raise
        except (FenceLost, StorageBusy):
            raise
        except Exception:
            # A machine's fault that comes each time must not keep others from this job's place.
            if self.queue.failures(job_id) >= MAX_FAILED_TURNS:
                await self._give_up(job_id)
            raise

    async def _give_up(self, job_id: JobId) -> None:
        job = await self._repository.get_job(job_id)
        if job.status is not JobStatus.COMPLETED and job.run is None:
            verdict = Verdict(Outcome.LOST, reason=Reason.INFRASTRUCTURE)
            await self._complete(job, verdict, "The controller could not start it; its log says why")

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
            ended_for_time=attempt is not None and attempt.ended_for_time,
            failed_launches=self.attempts.failed_launches.get(job.id, 0),
        )

    async def _apply(self, job: Job, seen: Seen, action: Action) -> None:
        match action:
            case Nothing():
                pass
            case Start():
                await self._start(job)
            case Attend():
                if seen.container is not None:
                    await self._launcher.name_it(job, seen.container)
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
        match await self._starter.start(job):
            case Launch() as launch:
                await self._launched(launch)
            case Untestable(verdict, notice):
                await self._complete(job, verdict, notice)
            case Unwanted():
                self.queue.add(job.id)
            case NotYet():
                pass

    async def _launched(self, launch: Launch) -> None:
        job, network = launch.job, self._readiness.network
        if network.reason and job.attempt == 1:
            notice = notice_data(f"Network: {network.reason}")
            await self._repository.add_events(self._fence, job.id, [notice])
        attempt = self.attempts.open(job.id, launch.container_id, self._time.deadline(job.id))
        self.attempts.attend(attempt, self._attendant.run(launch, attempt))

    # Attending

    def _attend(self, job: Job, seen: Seen) -> None:
        assert job.run is not None, "there is a container"
        self.admission.slots.adopt(job.id, None if seen.container is None else seen.container.slot)
        if job.run.environment_key is not None:
            self.admission.begin_install(job.run.environment_key, job.id)
        attempt = self.attempts.open(job.id, job.run.container_id, self._time.deadline(job.id))
        self.attempts.attend(attempt, self._attendant.follow(job, attempt))

    def _attempt_ended(self, attempt: Attempt, problem: BaseException | None) -> None:
        job_id = attempt.job_id
        if isinstance(problem, FenceLost):
            self.queue.fail(problem)
        elif problem is not None:
            _log.warning("job %s: %s", job_id, problem, exc_info=_trace(problem))
            if isinstance(problem, EngineUnavailable):
                self._readiness.look_again()
            self.queue.add_after(job_id, RETRY_SECONDS)
        else:
            self._note_last_word(attempt, attempt.last_word)
            self.queue.add(job_id)

    def _note_last_word(self, attempt: Attempt, last_word: LastWord | None) -> None:
        job_id = attempt.job_id
        match last_word:
            case NeverFed():
                # Perhaps for want of the network or the image: both are made sure of before the next try.
                self._readiness.begin_again()
            case Installed():
                self._leave(job_id, attempt.container_id)
                self.admission.end_install(job_id)
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
        attempt.ask_to_stop(self._loop.time())
        self.queue.add_after(job.id, ASK_AGAIN_SECONDS)
        await self._manager.signal(job.run.container_id, signals.SIGTERM)

    async def _kill(self, job: Job, seen: Seen) -> None:
        assert job.run is not None, "there is a container"
        if not seen.attended:
            self._attend(job, seen)
        attempt = self.attempts.of(job.id, job.run.container_id)
        assert attempt is not None, "it is attended"
        attempt.ended_for_time = attempt.ended_for_time or seen.past_deadline
        await self._manager.kill(job.run.container_id)

    async def _complete(self, job: Job, verdict: Verdict, notice: str | None) -> None:
        events = [] if notice is None else [notice_data(notice)]
        await self._repository.complete(self._fence, job.id, verdict, events)
        self._leave_run(job)
        await self._clean_up(job.id)

    async def _requeue(self, job: Job, notice: str | None, *, uses_attempt: bool) -> None:
        assert job.run is not None, "there was a container"
        requeued = await self._repository.requeue(
            self._fence, job.id, job.run.container_id, notice, uses_attempt=uses_attempt
        )
        if requeued is None:
            self.queue.add(job.id)
            return
        self._leave_run(job)
        failed = self.attempts.failed_launches
        failed[job.id] = 0 if uses_attempt else failed.get(job.id, 0) + 1
        self._release(job.id)
        self.queue.add(job.id)

    async def _lose_environment(self, job: Job) -> None:
        assert job.run is not None, "there was a container"
        if job.run.environment is not None:
            await self._repository.forget_environment(self._fence, job.run.environment)
        await self._requeue(job, None, uses_attempt=False)

    async def _clean_up(self, job_id: JobId) -> None:
        self._forget(job_id)
        await asyncio.to_thread(self._bundles.delete, job_id)

    def _forget(self, job_id: JobId) -> None:
        self.attempts.forget(job_id)
        self.attempts.failed_launches.pop(job_id, None)
        self._planner.forget(job_id)
        self._release(job_id)

    def _release(self, job_id: JobId) -> None:
        self._time.forget(job_id)
        self.admission.release(job_id)
        self.start_ahead()

    def start_ahead(self) -> None:
        """Start containers for jobs to come: now, when none is being started for a job that is there."""
        if self.admission.is_open:  # until then, the numbers of running jobs' containers aren't known
            self._pool.tend_soon()

    # What is left of containers

    def _leave_run(self, job: Job) -> None:
        if job.run is not None:
            self._leave(job.id, job.run.container_id)
            self.attempts.forget(job.id)

    def _leave(self, job_id: JobId, container_id: ContainerId) -> None:
        self._leftovers.setdefault(job_id, set()).add(container_id)

    def suspect(self, job_id: JobId, container_id: ContainerId) -> None:
        """A listing has shown a container that the job is not bound to: look at it in the job's turn."""
        self._leave(job_id, container_id)
        self.queue.add(job_id)

    async def _remove_leftovers(self, job_id: JobId) -> None:
        suspects = self._leftovers.pop(job_id, None)
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
