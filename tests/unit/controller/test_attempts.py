from ci_common.ids import ContainerId, JobId
from ci_controller.attempts import ASK_AGAIN_SECONDS, STOP_PATIENCE_SECONDS, Attempt
from ci_controller.decide import Stopping


def test_a_runner_that_may_not_have_heard_is_asked_again_until_patience_ends() -> None:
    attempt = Attempt(JobId("j"), ContainerId("c"), deadline=1000.0)
    assert attempt.stopping(50.0) is Stopping.NO
    attempt.ask_to_stop(100.0)
    assert attempt.stopping(100.0) is Stopping.ASKED
    assert attempt.stopping(100.0 + ASK_AGAIN_SECONDS) is Stopping.TO_ASK_AGAIN
    attempt.ask_to_stop(105.0)
    assert attempt.stopping(105.5) is Stopping.ASKED
    assert attempt.stopping(100.0 + STOP_PATIENCE_SECONDS) is Stopping.OVERDUE
