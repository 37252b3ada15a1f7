"""What should wait for jobs to come."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ci_common.ids import ContainerId, Fence, JobId, UserId, VolumeName
from ci_common.models import Environment, Job, JobStatus, Run, Stage, SubmitOptions
from ci_controller.seeds import Seed
from ci_controller.warm_plan import (
    BLANK_COSTS,
    Blank,
    Step,
    Wish,
    expected_environments,
    in_order,
    next_step,
)
from tests.unit.controller.test_environments import requirements_of

A, B, C = VolumeName("a"), VolumeName("b"), VolumeName("c")
SEED = Seed(UserId("u"), requirements_of("pytest\n"), datetime(2026, 1, 1, tzinfo=UTC))
SEEDED = Blank(SEED)
volumes = st.sampled_from([VolumeName(name) for name in "abcdef"])
wishes = st.one_of(volumes, st.sampled_from([Blank(), SEEDED]))


def stock(*wishes: Wish) -> frozenset[Wish]:
    return frozenset(wishes)


def cost(wish: Wish) -> int:
    return BLANK_COSTS if isinstance(wish, Blank) else 1


def settled(start: frozenset[Wish], wishes: Sequence[Wish], limit: int) -> frozenset[Wish]:
    """Where step after step leads."""
    present = start
    for _ in range(20):
        step = next_step(present, wishes, limit)
        after = (present - step.drop) | (stock() if step.make is None else stock(step.make))
        if after == present:
            return present
        present = after
    raise AssertionError("it never comes to rest")


def test_what_was_used_last_comes_first_then_a_blank_then_wheels_then_the_rest() -> None:
    assert in_order([A, B], None) == [A, Blank(), B]
    assert in_order([A, B], SEED) == [A, Blank(), SEEDED, B]
    assert in_order([], SEED) == [Blank(), SEEDED]


def test_one_after_the_other_is_made_in_that_order() -> None:
    assert next_step(stock(), in_order([A, B], None), 4).make == A
    assert next_step(stock(A), in_order([A, B], None), 4).make == Blank()
    assert next_step(stock(A, Blank()), in_order([A, B], None), 4).make == B
    assert next_step(stock(A, B, Blank()), in_order([A, B, C], None), 4) == Step(frozenset(), None)


def test_nothing_waits_where_nothing_may() -> None:
    assert next_step(stock(A, Blank()), in_order([A], None), 0) == Step(stock(A, Blank()), None)


def test_a_blank_that_finds_no_room_leaves_it_to_environments() -> None:
    assert settled(stock(), in_order([A, B, C], None), 2) == stock(A, B)
    assert settled(stock(), in_order([A, B, C], SEED), 3) == stock(A, Blank())
    assert settled(stock(), in_order([A, B, C], SEED), 4) == stock(A, Blank(), B)
    assert settled(stock(), in_order([A, B, C], SEED), 5) == stock(A, Blank(), SEEDED)


def test_what_nobody_will_want_makes_room() -> None:
    assert next_step(stock(C, Blank()), in_order([A], None), 3) == Step(stock(C), A)


def test_wheels_of_an_earlier_installation_make_room_for_those_of_the_last() -> None:
    newer = Seed(SEED.owner, SEED.requirements, SEED.installed_at)
    step = next_step(stock(A, Blank(), SEEDED), in_order([A], newer), 5)
    assert step == Step(stock(SEEDED), Blank(newer))


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
    st.booleans(),
    st.frozensets(wishes),
    st.integers(min_value=0, max_value=8),
)
def test_it_comes_to_rest_within_the_limit_and_only_on_what_is_expected(
    expected: list[VolumeName], has_seed: bool, present: frozenset[Wish], limit: int
) -> None:
    wanted = in_order(expected, SEED if has_seed else None)
    rest = settled(present, wanted, limit)
    assert sum(map(cost, rest)) <= limit
    assert rest <= set(wanted)
    assert next_step(rest, wanted, limit) == Step(frozenset(), None)
