"""Moments, the phases between them, and how two clocks are brought together."""

from datetime import UTC, datetime, timedelta

from ci_common.job_times import NO_TIMES, JobTimes, Milestone, Stopwatch, joined, phases_of

ZERO = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def at(**milliseconds: float) -> JobTimes:
    return JobTimes(
        {Milestone(name): ZERO + timedelta(milliseconds=value) for name, value in milliseconds.items()}
    )


def shown(times: JobTimes) -> dict[str, tuple[float, float]]:
    return {
        phase.name: ((phase.begin - ZERO) / timedelta(milliseconds=1), round(phase.seconds * 1000, 3))
        for phase in phases_of(times)
    }


def test_phases_lie_between_moments_that_are_known() -> None:
    times = at(received=0, uploaded=4, stored=9, admitted=11, tests_began=50, tests_ended=80)
    assert shown(times) == {"server: receive": (0, 4), "queue": (9, 2), "tests": (50, 30)}
    assert phases_of(NO_TIMES) == []


def test_a_phase_begins_when_the_last_of_what_it_needs_is_there() -> None:
    cached = at(planned=0, bound=5)
    installed = at(planned=0, installer_ended=3, bound=5)
    assert shown(cached)["container: create"] == (0, 5)
    assert shown(installed)["container: create"] == (3, 2)


def test_what_ends_before_it_begins_has_no_length() -> None:
    assert shown(at(stored=9, admitted=8)) == {"queue": (9, 0)}


def test_phases_come_in_the_order_in_which_they_began() -> None:
    times = at(tests_began=50, tests_ended=80, first_output=60, received=0, uploaded=1)
    assert list(shown(times)) == ["server: receive", "tests: first output", "tests"]


def test_what_is_known_stands() -> None:
    both = at(admitted=1, fed=5).with_later(at(fed=9, bound=3))
    assert both == at(admitted=1, fed=5, bound=3)
    assert both.with_moment(Milestone.COMPLETED, None) == both
    assert both.with_moment(Milestone.COMPLETED, ZERO).moments[Milestone.COMPLETED] == ZERO


def test_another_attempt_keeps_the_submission_alone() -> None:
    assert at(received=1, stored=2, admitted=3, fed=4).of_submission() == at(received=1, stored=2)


def test_a_stopwatch_asks_the_wall_clock_once() -> None:
    seconds, wall = [100.0], [ZERO]
    watch = Stopwatch(clock=lambda: seconds[0], now=lambda: wall[0])
    watch.mark(Milestone.ADMITTED)
    seconds[0], wall[0] = 100.25, ZERO - timedelta(hours=1)
    watch.mark(Milestone.PLANNED)
    watch.mark(Milestone.ADMITTED)
    assert watch.times == at(admitted=0, planned=250)
    assert watch.moment(Milestone.FED) is None
    before = watch.times
    watch.mark(Milestone.FED, ZERO)
    assert Milestone.FED not in before.moments


def test_sides_whose_clocks_agree_are_left_alone() -> None:
    client, server = at(sending_began=0, accepted=10), at(received=2, stored=7, fed=50)
    assert joined(client, server) == client.with_later(server)


def test_a_server_that_is_ahead_is_brought_back() -> None:
    client, server = at(sending_began=0, accepted=10), at(received=5002, stored=5008, fed=5050)
    assert joined(client, server) == at(sending_began=0, accepted=10, received=2, stored=8, fed=50)


def test_without_both_ends_nothing_can_be_brought_together() -> None:
    client, server = at(client_started=0), at(received=5002)
    assert joined(client, server) == client.with_later(server)
