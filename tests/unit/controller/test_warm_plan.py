"""What should wait for jobs to come."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ci_common.ids import ContainerId, Fence, JobId, UserId, VolumeName
from ci_common.models import Environment, Job, JobStatus, Run, Stage, SubmitOptions
from ci_controller.warm_plan import BLANK_COSTS, Blank, Step, Stock, expected_environments, next_step

A, B, C = VolumeName("a"), VolumeName("b"), VolumeName("c")
volumes = st.sampled_from([VolumeName(name) for name in "abcdef"])


def stock(*environments: VolumeName, blank: bool = False) -> Stock:
    return Stock(frozenset(environments), blank)


def settled(start: Stock, environments: Sequence[VolumeName], limit: int) -> Stock:
    """Where step after step leads."""
    present = start
    for _ in range(20):
        step = next_step(present, environments, limit)
        has_blank = (present.has_blank and not step.drop_blank) or isinstance(step.make, Blank)
        environments_after = set(present.environments - step.drop)
        if step.make is not None and not isinstance(step.make, Blank):
            environments_after.add(step.make)
        after = Stock(frozenset(environments_after), has_blank)
        if after == present:
            return present
        present = after
    raise AssertionError("it never comes to rest")


def test_what_was_used_last_comes_first_then_a_blank_then_the_rest() -> None:
    assert next_step(stock(), [A, B], 4).make == A
    assert next_step(stock(A), [A, B], 4).make == Blank()
    assert next_step(stock(A, blank=True), [A, B], 4).make == B
    assert next_step(stock(A, B, blank=True), [A, B, C], 4) == Step(frozenset(), False, None)


def test_nothing_waits_where_nothing_may() -> None:
    assert next_step(stock(A, blank=True), [A], 0) == Step(frozenset({A}), True, None)


def test_a_blank_that_finds_no_room_leaves_it_to_environments() -> None:
    assert settled(stock(), [A, B, C], 2) == stock(A, B)
    assert settled(stock(), [A, B, C], 3) == stock(A, blank=True)


def test_what_nobody_will_want_makes_room() -> None:
    assert next_step(stock(C, blank=True), [A], 3) == Step(frozenset({C}), False, A)


def test_what_is_being_installed_is_expected_first_and_nothing_that_has_expired() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    old, new, stale = (
        Environment(
            name, UserId("u"), VolumeName(name), now - timedelta(hours=age), now - timedelta(hours=used)
        )
        for name, age, used in (("old", 9, 5), ("new", 9, 1), ("stale", 30, 0))
    )
    run = Run(Stage.INSTALL, ContainerId("c"), Fence(1), VolumeName("coming"), environment_key="k")
    job = Job(JobId("j"), UserId("u"), JobStatus.RUNNING, SubmitOptions(), 1, now, run=run)
    expected = expected_environments([job], [old, stale, new], now, timedelta(days=1))
    assert expected == ["coming", "new", "old"]


@given(
    st.lists(volumes, unique=True),
    st.frozensets(volumes),
    st.booleans(),
    st.integers(min_value=0, max_value=8),
)
def test_it_comes_to_rest_within_the_limit_and_only_on_what_is_expected(
    expected: list[VolumeName], present: frozenset[VolumeName], has_blank: bool, limit: int
) -> None:
    rest = settled(Stock(present, has_blank), expected, limit)
    assert len(rest.environments) + BLANK_COSTS * rest.has_blank <= limit
    assert rest.environments <= set(expected)
    assert next_step(rest, expected, limit) == Step(frozenset(), False, None)
