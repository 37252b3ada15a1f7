"""Stays with one container: starts and feeds it if it is new, pumps its log, and brings its last word.

What the runner says stands; only where it never got its files is the feeding itself asked why. Called as
an attempt's task (`attempts`), one a container.
"""

import asyncio
import logging

from ci_common.clock import utc_now
from ci_common.errors import BundleRejected, NotFound
from ci_common.ids import Fence
from ci_common.job_times import Milestone
from ci_common.models import Environment, Job, Outcome, Reason, Stage, Verdict
from ci_common.repository import ControllerRepository
from ci_controller.attempts import Attempt
from ci_controller.container_manager import ContainerManager
from ci_controller.engine_errors import StartFailed
from ci_controller.frames import RunnerResult
from ci_controller.launcher import Launch, Launcher
from ci_controller.pump import Pump
from ci_controller.settle import Drained, LastWord, NeverFed, Settlement, settle

UNFED_PATIENCE_SECONDS = 5.0
"""After a feeding has failed: a runner whose stdin was closed has said so by then."""

_log = logging.getLogger(__name__)


class _Feeding:
    """How the feeding of one container went."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.problem: Exception | None = None


class Attendant:
    """Attends to containers for one leadership."""

    def __init__(
        self, repository: ControllerRepository, manager: ContainerManager, launcher: Launcher, fence: Fence
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._launcher = launcher
        self._fence = fence

    async def run(self, launch: Launch, attempt: Attempt) -> LastWord:
        """Start and feed a new container, and follow it."""
        try:
            if not await self._launcher.start(launch):
                return Drained()
            if not launch.is_started:
                self._launcher.watches.of(launch.job.id).mark(_started(launch.job))
        except StartFailed as problem:
            _log.warning("job %s: %s", launch.job.id, problem)
            return NeverFed()
        feeding = _Feeding()
        task = asyncio.create_task(self._feed(launch, feeding), name=f"feed {launch.job.id}")
        try:
            last_word = await self.follow(launch.job, attempt)
            if isinstance(last_word, NeverFed):
                await feeding.over.wait()
                return _why_not_fed(launch, feeding.problem)
            return last_word
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def follow(self, job: Job, attempt: Attempt) -> LastWord:
        """Follow a container that has its files, or has had its chance to get them."""

        def judge(latest: Job, result: RunnerResult) -> Settlement:
            return settle(latest, result, past_deadline=attempt.ended_for_time)

        watch = self._launcher.watches.of(job.id)
        pump = Pump(self._repository, self._manager, self._fence, job, judge, _environment_of, watch)
        return await pump.run()

    async def _feed(self, launch: Launch, feeding: _Feeding) -> None:
        try:
            await self._launcher.feed(launch)
        except Exception as problem:  # noqa: BLE001 - whatever it is: the container must not wait for ever
            feeding.problem = problem
            feeding.over.set()
            await self._end_if_unfed(launch)
        finally:
            feeding.over.set()

    async def _end_if_unfed(self, launch: Launch) -> None:
        """A runner that was never attached to waits for ever, since nothing closes its stdin."""
        await asyncio.sleep(UNFED_PATIENCE_SECONDS)
        run = (await self._repository.get_job(launch.job.id)).run
        if run is not None and run.container_id == launch.container_id and not run.fed:
            await self._manager.kill(launch.container_id)


def _why_not_fed(launch: Launch, problem: Exception | None) -> LastWord:
    _log.warning("job %s was not fed: %s", launch.job.id, problem)
    if isinstance(problem, BundleRejected | NotFound):
        return Verdict(Outcome.ERROR, reason=Reason.BAD_BUNDLE)
    return NeverFed()


def _started(job: Job) -> Milestone:
    assert job.run is not None, f"job {job.id} is bound to no container"
    return Milestone.STARTED if job.run.stage is Stage.TEST else Milestone.INSTALLER_STARTED


def _environment_of(job: Job) -> Environment:
    assert job.run is not None, "an installation has a container"
    assert job.run.environment is not None, "an installation fills a volume"
    assert job.run.environment_key is not None, "an installation knows for what"
    now = utc_now()
    return Environment(
        job.run.environment_key, job.user_id, job.run.environment, created_at=now, last_used_at=now
    )
