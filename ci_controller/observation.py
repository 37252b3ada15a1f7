"""What a container's log tells of its job's phases; pure but for the stopwatch that notes it.

The runner counts seconds on its own monotonic clock from its frame `fed`, and so needs no clock in common
with the controller, which notes when that frame came. A number that can't be is ignored, one that lies
outside what the controller saw itself is moved to its edge: a runner that lies, or a machine that slept,
spoils its own picture alone. A container that this process has not seen being fed tells its end alone.
Output is never held up: when its first piece came is stored with the end.

Called by `ci_controller.pump`, one observation a container.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from ci_common.job_times import NO_TIMES, JobTimes, Milestone, Stopwatch
from ci_common.models import Phase, Stage
from ci_controller.frames import Batch

_INSTALLER = {
    "install_began": Milestone.INSTALL_BEGAN,
    "install_ended": Milestone.INSTALL_ENDED,
}
_TESTER = {
    "runner_ready": Milestone.RUNNER_READY,
    "feeding_began": Milestone.FEEDING_BEGAN,
    "install_began": Milestone.SETUP_BEGAN,
    "install_ended": Milestone.SETUP_ENDED,
    "test_began": Milestone.TESTS_BEGAN,
    "test_ended": Milestone.TESTS_ENDED,
}


class Observation:
    """Notes on `watch` the moments of one container."""

    def __init__(self, watch: Stopwatch, stage: Stage) -> None:
        self._watch = watch
        self._tests = stage is Stage.TEST
        self._fed = Milestone.FED if self._tests else Milestone.INSTALLER_FED
        self._awaits_output = self._tests

    def take(self, batch: Batch) -> JobTimes:
        """What is worth storing with `batch`; nothing with most of a log."""
        if batch.fed:
            self._watch.mark(self._fed)
        if self._awaits_output and _has_test_output(batch):
            self._awaits_output = False
            if self._watch.moment(self._fed) is not None:
                self._watch.mark(Milestone.FIRST_OUTPUT)
        if not (batch.fed or batch.result):
            return NO_TIMES
        if batch.result is not None:
            self._watch.mark(Milestone.RESULT_SEEN if self._tests else Milestone.INSTALLER_ENDED)
        self._note_runner(batch.since_fed_seconds)
        return self._watch.times

    def _note_runner(self, seconds: Mapping[str, float]) -> None:
        fed = self._watch.moment(self._fed)
        if fed is None:
            return
        earliest = self._began() or fed
        for name, milestone in (_TESTER if self._tests else _INSTALLER).items():
            if name in seconds:
                moment = fed + timedelta(seconds=seconds[name])
                self._watch.mark(milestone, min(max(moment, earliest), self._watch.now()))

    def _began(self) -> datetime | None:
        """When the container became the job's or was started, whichever came last."""
        bound, started = (
            (Milestone.BOUND, Milestone.STARTED)
            if self._tests
            else (Milestone.INSTALLER_BOUND, Milestone.INSTALLER_STARTED)
        )
        return self._watch.moment(started) or self._watch.moment(bound)


def _has_test_output(batch: Batch) -> bool:
    return any(phase is Phase.TEST for phase, _ in batch.chunks)
