"""How a job's end is told: one line, and the exit code of the command. Pure but for the console."""

from ci_client.problems import InternalFault
from ci_client.terminal import Console
from ci_client.wire import Completion, JobView
from ci_common.lifecycle import EXPLANATIONS, client_exit_code
from ci_common.models import Outcome, Reason

_WORDS = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.ERROR: "error",
    Outcome.CANCELLED: "cancelled",
    Outcome.TIMED_OUT: "timed out",
    Outcome.OUT_OF_MEMORY: "out of memory",
    Outcome.LOST: "lost",
}


def exit_code_of(end: Completion) -> int:
    """What the command exits with.

    Raises:
        InternalFault: a newer server has invented an outcome that says nothing here.
    """
    try:
        outcome = Outcome(end.outcome)
    except ValueError:
        if end.exit_code is not None:
            return end.exit_code
        raise InternalFault(
            f"the job ended as {end.outcome!r}, which this version doesn't know; get a newer one"
        ) from None
    if outcome in {Outcome.PASSED, Outcome.FAILED} and end.exit_code is None:
        return 0 if outcome is Outcome.PASSED else 1
    return client_exit_code(outcome, end.exit_code)


def sentence_of(end: Completion) -> str:
    """The end of a job for people, the cause and the next step with it."""
    words = {outcome.value: text for outcome, text in _WORDS.items()}
    sentence = words.get(end.outcome, end.outcome)
    if end.outcome == Outcome.FAILED and end.exit_code is not None:
        sentence += f" with exit code {end.exit_code}{_signal_of(end.exit_code)}"
    explanations = {reason.value: text for reason, text in EXPLANATIONS.items()}
    explanation = explanations.get(end.reason or "", end.reason or "")
    if end.reason == Reason.CANCELLED_BY_USER:
        return sentence
    return f"{sentence}: {explanation}" if explanation else sentence


def _signal_of(exit_code: int) -> str:
    names = {134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 137: "SIGKILL", 139: "SIGSEGV", 143: "SIGTERM"}
    return f" ({names[exit_code]})" if exit_code in names else ""


def duration_text(seconds: float) -> str:
    """A duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def seconds_of(job: JobView) -> float | None:
    """From a job's submission to its end, by the server's clock."""
    if job.submit_time is None or job.end_time is None:
        return None
    return max(0.0, (job.end_time - job.submit_time).total_seconds())


def tell_end(console: Console, end: Completion, seconds: float | None) -> int:
    """Say how it has ended; the exit code."""
    console.finish_output()
    exit_code = exit_code_of(end)
    line = sentence_of(end) if seconds is None else f"{sentence_of(end)} ({duration_text(seconds)})"
    if end.outcome == Outcome.PASSED:
        console.success(line)
    else:
        console.failure(line)
    return exit_code


class Show:
    """Shows a followed job on the console: the tests on stdout, the rest on stderr."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def output(self, phase: str, text: str) -> None:
        """A piece of output."""
        if phase == "test":
            self._console.test_output(text)
        else:
            self._console.install_output(text)

    def notice(self, text: str) -> None:
        """The platform speaks."""
        self._console.note(text)
