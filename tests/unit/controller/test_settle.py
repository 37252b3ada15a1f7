"""What a runner's last frame means for its job."""

from dataclasses import replace

import pytest

from ci_common.models import Job, Outcome, Phase, Reason, Stage, Verdict
from ci_controller.frames import RunnerEnd, RunnerResult
from ci_controller.settle import EnvironmentGone, Installed, Lost, NeverFed, settle
from tests.unit.controller.test_decide import job_with

EXITED = RunnerResult(RunnerEnd.EXITED, Phase.TEST, exit_code=0, oom_kills=0, terminated=False)


def in_stage(stage: Stage) -> Job:
    job = job_with()
    assert job.run is not None
    return replace(job, run=replace(job.run, stage=stage))


@pytest.mark.parametrize(
    ("code", "outcome"), [(0, Outcome.PASSED), (1, Outcome.FAILED), (139, Outcome.FAILED)]
)
def test_the_exit_code_of_the_tests_is_the_jobs(code: int, outcome: Outcome) -> None:
    result = replace(EXITED, exit_code=code)
    assert settle(job_with(), result, past_deadline=False) == Verdict(outcome, exit_code=code)


def test_an_installation_that_ended_well_is_an_environment() -> None:
    result = replace(EXITED, phase=Phase.INSTALL)
    assert settle(in_stage(Stage.INSTALL), result, past_deadline=False) == Installed()


def test_a_job_that_ends_without_having_tested_has_not_passed() -> None:
    verdict = settle(job_with(), replace(EXITED, phase=Phase.INSTALL), past_deadline=False)
    assert verdict == Verdict(Outcome.ERROR, reason=Reason.INSTALL_FAILED)


@pytest.mark.parametrize("end", RunnerEnd)
def test_a_cancellation_that_was_asked_for_is_the_outcome(end: RunnerEnd) -> None:
    job = job_with(cancel=Reason.CANCELLED_BY_ADMIN)
    verdict = settle(job, replace(EXITED, end=end), past_deadline=True)
    assert verdict == Verdict(Outcome.CANCELLED, reason=Reason.CANCELLED_BY_ADMIN)


@pytest.mark.parametrize("end", [RunnerEnd.EXITED, RunnerEnd.TERMINATED])
def test_a_sigterm_that_nobody_asked_for_was_the_machines(end: RunnerEnd) -> None:
    result = replace(EXITED, end=end, exit_code=1, terminated=True)
    assert isinstance(settle(job_with(), result, past_deadline=False), Lost)
    assert settle(job_with(), result, past_deadline=True) == Verdict(
        Outcome.TIMED_OUT, reason=Reason.TIME_LIMIT
    )


@pytest.mark.parametrize("end", RunnerEnd)
def test_every_end_means_something(end: RunnerEnd) -> None:
    expected = {
        RunnerEnd.UNFED: NeverFed,
        RunnerEnd.ENVIRONMENT_MISSING: EnvironmentGone,
        RunnerEnd.TERMINATED: Lost,
    }
    assert isinstance(
        settle(job_with(), replace(EXITED, end=end), past_deadline=False), expected.get(end, Verdict)
    )
