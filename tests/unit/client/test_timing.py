"""The waterfall in a terminal, and what is understood of a server's times."""

from datetime import UTC, datetime, timedelta

from ci_client.moments import Moments
from ci_client.timing import times_in, times_of, timing_json, timing_lines
from ci_client.timing_report import times_noted
from ci_common.job_times import NO_TIMES, JobTimes, Milestone

ZERO = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def at(**milliseconds: float) -> JobTimes:
    return JobTimes(
        {Milestone(name): ZERO + timedelta(milliseconds=value) for name, value in milliseconds.items()}
    )


TIMES = at(received=0, uploaded=10, checked=10.26, tests_began=20, tests_ended=40)


def test_a_line_a_phase() -> None:
    assert timing_lines(TIMES, lambda _: True) == [
        "PHASE                  START ms  DURATION ms",
        "server: receive             0.0         10.0  ██████████",
        "server: check archive      10.0          0.3            █",
        "tests                      20.0         20.0                      ████████████████████",
    ]


def test_where_there_is_little_room_there_are_no_bars() -> None:
    wide, narrow = timing_lines(TIMES, lambda _: False, 60), timing_lines(TIMES, lambda _: False, 50)
    assert wide[1].endswith("  ####")
    assert max(map(len, wide)) <= 60
    assert narrow[1] == "server: receive             0.0         10.0"


def test_phases_without_length_are_shown_all_the_same() -> None:
    assert timing_lines(at(received=0, uploaded=0), lambda _: True)[1].endswith("  █")


def test_nothing_known() -> None:
    assert timing_lines(NO_TIMES, lambda _: True) == ["no times are known of this job"]


def test_what_a_server_says_is_read_back() -> None:
    assert times_in(timing_json(TIMES)) == TIMES
    assert list(timing_json(TIMES)) == ["received", "uploaded", "checked", "tests_began", "tests_ended"]


def test_moments_of_another_version_are_left_out() -> None:
    told = {**timing_json(at(received=0)), "teleported": "x", "fed": 7, "stored": "yesterday", "bound": None}
    assert times_of({"timing": told}) == at(received=0)
    for nonsense in (None, [1], "x", 7):
        assert times_of({"timing": nonsense}) == NO_TIMES
    assert times_of({}) == NO_TIMES


def test_what_this_process_notes_keeps_its_distances() -> None:
    moments = Moments()
    moments.mark("packed")
    moments.mark("sending_began")
    moments.mark("packed")
    seconds, times = moments.seconds, times_noted(moments).moments
    assert list(seconds) == [name.value for name in times] == ["client_started", "packed", "sending_began"]
    between = times[Milestone.SENDING_BEGAN] - times[Milestone.CLIENT_STARTED]
    expected = timedelta(seconds=seconds["sending_began"] - seconds["client_started"])
    assert abs(between - expected) <= timedelta(microseconds=2)
