"""What a runner's last frame means for its job: pure, no I/O.

The runner reports what happened in its container; whether that is the tests' doing, the machine's or
somebody's wish is judged here. A job can forge nothing that harms more than its own result.
"""

from dataclasses import dataclass

from ci_common.lifecycle import outcome_of_exit
from ci_common.models import Job, Outcome, Phase, Reason, Stage, Verdict
from ci_controller.frames import RunnerEnd, RunnerResult


@dataclass(frozen=True, slots=True)
class Installed:
    """The environment is complete and sealed."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The machine ended the container, not the job."""

    what_happened: str


@dataclass(frozen=True, slots=True)
class NeverFed:
    """The files didn't arrive whole: nothing of the job has run."""


@dataclass(frozen=True, slots=True)
class EnvironmentGone:
    """The volume that should have held the packages doesn't: a miss of the cache."""


Settlement = Verdict | Installed | Lost | NeverFed | EnvironmentGone


@dataclass(frozen=True, slots=True)
class Drained:
    """The log ended, or the container is gone, without a result."""


@dataclass(frozen=True, slots=True)
class Unbound:
    """The job isn't bound to this container any more."""


LastWord = Settlement | Drained | Unbound
"""How the attention to one container ended."""

_FIXED = {
    RunnerEnd.INSTALL_FAILED: Verdict(Outcome.ERROR, reason=Reason.INSTALL_FAILED),
    RunnerEnd.PYTEST_MISSING: Verdict(Outcome.ERROR, reason=Reason.PYTEST_MISSING),
    RunnerEnd.TIME_LIMIT: Verdict(Outcome.TIMED_OUT, reason=Reason.TIME_LIMIT),
    RunnerEnd.LOG_LIMIT: Verdict(Outcome.ERROR, reason=Reason.LOG_LIMIT),
    RunnerEnd.DISK_LIMIT: Verdict(Outcome.ERROR, reason=Reason.DISK_LIMIT),
    RunnerEnd.OUT_OF_MEMORY: Verdict(Outcome.OUT_OF_MEMORY, reason=Reason.MEMORY_LIMIT),
    RunnerEnd.BAD_FILES: Verdict(Outcome.ERROR, reason=Reason.BAD_BUNDLE),
}


def settle(job: Job, result: RunnerResult, *, past_deadline: bool) -> Settlement:
    """What follows from `result` of the container that `job` is bound to.

    `past_deadline` tells that this controller ended the container for its time limit.
    """
    assert job.run is not None, f"job {job.id} is bound to no container"
    if job.cancel_reason is not None:
        return Verdict(Outcome.CANCELLED, reason=job.cancel_reason)
    if result.terminated or result.end is RunnerEnd.TERMINATED:
        if past_deadline:
            return _FIXED[RunnerEnd.TIME_LIMIT]
        # Nobody asked for it: a stopping engine sends SIGTERM to every container.
        return Lost("Its container was stopped")
    if result.end is RunnerEnd.UNFED:
        return NeverFed()
    if result.end is RunnerEnd.ENVIRONMENT_MISSING:
        return EnvironmentGone()
    if result.end is RunnerEnd.EXITED:
        return _settle_exit(job.run.stage, result)
    return _FIXED[result.end]


def _settle_exit(stage: Stage, result: RunnerResult) -> Settlement:
    if stage is Stage.INSTALL:
        return Installed()
    if result.exit_code is None or result.phase is not Phase.TEST:
        # A frame that no runner of ours writes: the job's own doing, and its own loss.
        return Verdict(Outcome.ERROR, reason=Reason.INSTALL_FAILED)
    return Verdict(outcome_of_exit(result.exit_code), exit_code=result.exit_code)
