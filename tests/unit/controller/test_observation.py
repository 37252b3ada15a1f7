"""What a container's log tells of phases, and that no number in it can harm."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ci_common.ids import JobId
from ci_common.job_times import NO_TIMES, JobTimes, Milestone, Stopwatch
from ci_common.models import LogPosition, Phase, Stage
from ci_controller.frames import Batch, RunnerEnd, RunnerResult
from ci_controller.observation import Observation
from ci_controller.stopwatches import Stopwatches

ZERO = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
END = RunnerResult(RunnerEnd.EXITED, Phase.TEST, 0, 0, terminated=False)


def at(**seconds: float) -> JobTimes:
    return JobTimes({Milestone(name): ZERO + timedelta(seconds=value) for name, value in seconds.items()})


def batch(
    *chunks: tuple[Phase, str],
    fed: bool = False,
    result: RunnerResult | None = None,
    told: Mapping[str, float] | None = None,
) -> Batch:
    return Batch(list(chunks), fed, [], result, LogPosition(), told or {})


class Watched:
    """One container, looked at by a clock that stands where the test wants it."""

    def __init__(self, stage: Stage = Stage.TEST, **noted: float) -> None:
        self.seconds = 0.0
        self.watch = Stopwatch(clock=lambda: self.seconds, now=lambda: ZERO)
        for milestone, moment in at(**noted).moments.items():
            self.watch.mark(milestone, moment)
        self.observation = Observation(self.watch, stage)

    def take(self, seconds: float, brought: Batch) -> JobTimes:
        self.seconds = seconds
        return self.observation.take(brought)


def test_a_container_from_its_files_to_its_end() -> None:
    seen = Watched(bound=1, started=2)
    assert seen.take(3, batch(fed=True, told={"runner_ready": -0.5, "feeding_began": -0.25})) == at(
        bound=1, started=2, runner_ready=2.5, feeding_began=2.75, fed=3
    )
    assert seen.take(4, batch((Phase.INSTALL, "…"))) == NO_TIMES
    assert seen.take(5, batch((Phase.TEST, "."))) == NO_TIMES
    assert seen.take(6, batch((Phase.TEST, "."))) == NO_TIMES
    told = {"install_began": 0.5, "install_ended": 1, "test_began": 1.5, "test_ended": 5}
    assert seen.take(9, batch(result=END, told=told)) == at(
        bound=1, started=2, runner_ready=2.5, feeding_began=2.75, fed=3, setup_began=3.5, setup_ended=4,
        tests_began=4.5, first_output=5, tests_ended=8, result_seen=9,
    )  # fmt: skip


def test_an_installer_tells_its_own_moments() -> None:
    seen = Watched(Stage.INSTALL, installer_bound=1, installer_started=2)
    seen.take(3, batch((Phase.INSTALL, "x"), fed=True, told={"runner_ready": -0.5, "feeding_began": -0.25}))
    told = {"install_began": 0.5, "install_ended": 4, "test_began": 5}
    assert seen.take(9, batch(result=END, told=told)) == at(
        installer_bound=1, installer_started=2, installer_fed=3, install_began=3.5, install_ended=7,
        installer_ended=9,
    )  # fmt: skip


def test_a_runner_that_was_up_before_it_was_the_jobs_took_no_time() -> None:
    seen = Watched(bound=1)
    moments = seen.take(3, batch(fed=True, told={"runner_ready": -3600.0, "feeding_began": -1.5})).moments
    assert moments[Milestone.RUNNER_READY] == moments[Milestone.BOUND]


def test_a_container_that_was_fed_before_we_looked_tells_its_end_alone() -> None:
    told = {"test_began": 1.0, "test_ended": 2.0}
    seen = Watched()
    assert seen.take(8, batch((Phase.TEST, "."))) == NO_TIMES
    assert seen.take(9, batch(result=END, told=told)) == at(result_seen=9)


@given(
    st.dictionaries(
        st.sampled_from(["runner_ready", "feeding_began", "install_began", "test_began", "test_ended", "x"]),
        st.floats(-1e7, 1e7),
    )
)
def test_whatever_a_runner_says_lies_within_what_was_seen(told: dict[str, float]) -> None:
    seen = Watched(bound=1, started=2)
    seen.take(3, batch(fed=True, told=told))
    moments = seen.take(9, batch(result=END, told=told)).moments
    assert ZERO + timedelta(seconds=1) == min(moments.values())
    assert max(moments.values()) == ZERO + timedelta(seconds=9)


def test_a_watch_belongs_to_one_attempt() -> None:
    watches, job = Stopwatches(), JobId("job")
    watches.begin(job)
    watches.of(job).mark(Milestone.PLANNED)
    assert set(watches.of(job).times.moments) == {Milestone.ADMITTED, Milestone.PLANNED}
    watches.begin(job)
    assert set(watches.of(job).times.moments) == {Milestone.ADMITTED}
    watches.forget(job)
    watches.forget(job)
    assert watches.of(job).times == NO_TIMES
