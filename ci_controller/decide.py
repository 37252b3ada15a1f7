"""What to do next about one job: pure, no I/O, the whole of the controller's judgement in one place.

A turn looks (database, engine), calls `decide` or `decide_start`, and carries out the one action that
comes back (`ci_controller.reconciler`). Invariants kept here:

- a container that bears an older fence and was never fed is removed, never fed: its feeder is dead;
- nothing is started twice: a container that was bound but isn't being worked on and has no files is
  given up, not tried again;
- a container that has ended is judged only once its log has been read to the end;
- a cancellation, once asked for, is the outcome, whatever the container says afterwards.
"""

from dataclasses import dataclass
from enum import StrEnum

from ci_common.ids import Fence, JobId, VolumeName
from ci_common.lifecycle import MAX_ATTEMPTS
from ci_common.models import Job, JobStatus, Outcome, Reason, Verdict
from ci_controller.container_view import ContainerStatus, ContainerView
from ci_controller.settle import Drained, EnvironmentGone, Installed, LastWord, Lost, NeverFed, Unbound

MAX_FAILED_LAUNCHES = 3
"""Containers that may fail before they hold the files without using up an attempt of the job."""


class Stopping(StrEnum):
    """How far this controller has gone in ending a job's container."""

    NO = "no"
    ASKED = "asked"
    """SIGTERM was sent, and the runner has time to end the tests."""
    TO_ASK_AGAIN = "to ask again"
    """That was a while ago; the runner may not have been able to hear it."""
    OVERDUE = "overdue"
    """SIGTERM was sent, and the runner's time for it is over."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a turn has seen of the container that a running job is bound to."""

    container: ContainerView | None
    """None: the engine doesn't have it."""
    attended: bool
    """This process starts, feeds or follows it at present."""
    last_word: LastWord | None
    """How the attention to it ended; None while it lasts, or where there was none."""
    stopping: Stopping
    past_deadline: bool
    """The time limit and the runner's own margin are over: the runner has failed to keep it."""
    ended_for_time: bool
    """This controller has ended it for that."""
    failed_launches: int
    """How often a container of this job failed before it held the files, in this process's life."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be; something will wake the job again."""


@dataclass(frozen=True, slots=True)
class Start:
    """The job wants a container; `decide_start` says which."""


@dataclass(frozen=True, slots=True)
class Attend:
    """Follow the container's log from where the stored position ends."""


@dataclass(frozen=True, slots=True)
class AskToStop:
    """Send SIGTERM to the runner, which ends the tests and says so."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End the container at once."""


@dataclass(frozen=True, slots=True)
class Complete:
    """The job ends."""

    verdict: Verdict
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class Requeue:
    """The container is of no more use, for no reason of the job's: back into the queue."""

    notice: str | None
    uses_attempt: bool


@dataclass(frozen=True, slots=True)
class CleanUp:
    """The job has completed: remove what is left of it."""


@dataclass(frozen=True, slots=True)
class LoseEnvironment:
    """What should hold the packages doesn't: forget it, and back into the queue."""


Action = Nothing | Start | Attend | AskToStop | Kill | Complete | Requeue | LoseEnvironment | CleanUp


def decide(job: Job, seen: Seen, fence: Fence) -> Action:
    """The next step for `job`, by a controller that leads under `fence`."""
    if job.status is JobStatus.COMPLETED:
        return CleanUp()
    if job.run is None:
        return _decide_unbound(job)
    match seen.last_word:
        case Verdict() as verdict:
            return Complete(verdict)
        case Lost(what_happened):
            return _after_loss(job, what_happened, uses_attempt=True)
        case NeverFed():
            return _after_failed_launch(job, seen)
        case EnvironmentGone():
            return LoseEnvironment()
        case Installed() | Unbound():
            # Seen before the job was let go of: another turn is due.
            return Nothing()
        case _:
            return _decide_bound(job, seen, fence)


def _decide_bound(job: Job, seen: Seen, fence: Fence) -> Action:
    assert job.run is not None, "it is bound"
    if seen.container is None:
        return _after_loss(job, "Its container has disappeared", uses_attempt=True)
    if not job.run.fed and not seen.attended and job.run.fence != fence:
        return _after_loss(job, None, uses_attempt=False)
    if seen.container.status.has_ended:
        return _decide_ended(job, seen, seen.container)
    if not job.run.fed and not seen.attended:
        return _after_failed_launch(job, seen)
    return _decide_live(job, seen, seen.container)


def _decide_unbound(job: Job) -> Action:
    if job.cancel_reason is not None:
        return Complete(_cancelled(job))
    return Start()


def _decide_live(job: Job, seen: Seen, container: ContainerView) -> Action:
    if seen.past_deadline or container.status is ContainerStatus.PAUSED:
        # Nobody but a stranger pauses a container of ours; what it holds up can't be trusted with time.
        return Kill()
    if job.cancel_reason is not None:
        if seen.stopping in {Stopping.NO, Stopping.TO_ASK_AGAIN}:
            return AskToStop()
        if seen.stopping is Stopping.OVERDUE:
            return Kill()
    return Nothing() if seen.attended else Attend()


def _decide_ended(job: Job, seen: Seen, container: ContainerView) -> Action:
    if not isinstance(seen.last_word, Drained):
        return Nothing() if seen.attended else Attend()
    if job.cancel_reason is not None:
        return Complete(_cancelled(job))
    assert job.run is not None
    if not job.run.fed:
        return _after_failed_launch(job, seen)
    if seen.ended_for_time:
        return Complete(Verdict(Outcome.TIMED_OUT, reason=Reason.TIME_LIMIT))
    if container.oom_killed:
        return Complete(Verdict(Outcome.OUT_OF_MEMORY, reason=Reason.MEMORY_LIMIT))
    return _after_loss(job, "Its container ended without a result", uses_attempt=True)


def _after_failed_launch(job: Job, seen: Seen) -> Action:
    exhausted = seen.failed_launches >= MAX_FAILED_LAUNCHES
    notice = "Its container could not be started" if exhausted else None
    return _after_loss(job, notice, uses_attempt=exhausted)


def _after_loss(job: Job, what_happened: str | None, *, uses_attempt: bool) -> Action:
    if job.cancel_reason is not None:
        return Complete(_cancelled(job))
    if not uses_attempt:
        return Requeue(notice=None, uses_attempt=False)
    if job.attempt >= MAX_ATTEMPTS:
        return Complete(
            Verdict(Outcome.LOST, reason=Reason.INFRASTRUCTURE),
            notice=f"{what_happened} (attempt {job.attempt} of {MAX_ATTEMPTS}); giving up",
        )
    return Requeue(
        notice=f"{what_happened} (attempt {job.attempt} of {MAX_ATTEMPTS}); starting again",
        uses_attempt=True,
    )


def _cancelled(job: Job) -> Verdict:
    return Verdict(Outcome.CANCELLED, reason=job.cancel_reason)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether jobs can be started at all at present."""

    obstacle: str | None
    """What stands in the way, for people; None when nothing does."""


@dataclass(frozen=True, slots=True)
class Prospects:
    """What a turn has found out for a job that wants a container."""

    readiness: Readiness
    has_slot: bool
    usable_environment: VolumeName | None
    """Holds the packages that the job needs, and is fresh enough for it."""
    installs_itself: bool
    """Its requirements can't be kept: the job's own container installs everything."""
    installing_job: JobId | None
    """Another job that fills the same environment at present."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It can't be started now; what stands in the way wakes it again."""

    reason: str | None
    """For people, where the place in the queue doesn't say it already."""


@dataclass(frozen=True, slots=True)
class InstallPackages:
    """Fill an environment for it."""


@dataclass(frozen=True, slots=True)
class RunTests:
    """Run its tests, on the packages of `environment` where it needs one."""

    environment: VolumeName | None


StartAction = Wait | InstallPackages | RunTests


def decide_start(prospects: Prospects) -> StartAction:
    """Which container a job that is bound to none should get."""
    if prospects.readiness.obstacle is not None:
        return Wait(prospects.readiness.obstacle)
    if not prospects.has_slot:
        return Wait(None)
    if prospects.installs_itself:
        return RunTests(None)
    if prospects.usable_environment is not None:
        return RunTests(prospects.usable_environment)
    if prospects.installing_job is not None:
        return Wait(f"Waiting for the packages that job {prospects.installing_job} is installing")
    return InstallPackages()
