"""The state machine's edges, and what people are told of an end."""

import pytest

from ci_common.lifecycle import EXPLANATIONS, client_exit_code, may_follow
from ci_common.models import JobStatus, Outcome, Reason


def test_nothing_follows_completed() -> None:
    assert not any(may_follow(JobStatus.COMPLETED, status) for status in JobStatus)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_names_a_next_step(reason: Reason) -> None:
    sentence = EXPLANATIONS[reason]
    assert ";" in sentence or reason is Reason.CANCELLED_BY_USER  # who cancels knows what comes next


@pytest.mark.parametrize("code", [0, 1, 5, 139])
def test_the_tests_own_codes_pass_through(code: int) -> None:
    outcome = Outcome.PASSED if code == 0 else Outcome.FAILED
    assert client_exit_code(outcome, code) == code


def test_the_platforms_codes_are_told_apart() -> None:
    own = [Outcome.ERROR, Outcome.LOST, Outcome.TIMED_OUT, Outcome.CANCELLED, Outcome.OUT_OF_MEMORY]
    assert [client_exit_code(outcome, None) for outcome in own] == [65, 75, 124, 130, 137]
