"""What the lease tells about the controller."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ci_admin.controller_sign import FRESH_SECONDS, Sign, last_sign
from ci_common.ids import Fence
from ci_common.models import ControllerState, Lease, LeaseHolder

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = Lease(
    fence=Fence(3),
    holder=LeaseHolder(pid=42, start_ticks=1, boot_id="b"),
    beat=7,
    beat_time=NOW,
    state=ControllerState.READY,
    detail="",
)


def test_before_the_first_controller() -> None:
    assert last_sign(None, holder_lives=False, now=NOW) == Sign(is_fresh=False, words="none has run yet")


def test_a_leader_that_left() -> None:
    lease = replace(LEASE, holder=None)
    assert last_sign(lease, holder_lives=False, now=NOW) == Sign(is_fresh=False, words="stopped")


def test_a_leader_that_died_is_not_fresh_however_young_its_beat() -> None:
    assert last_sign(LEASE, holder_lives=False, now=NOW) == Sign(is_fresh=False, words="process 42 has died")


def test_a_leader_that_beats() -> None:
    moment = NOW + timedelta(seconds=FRESH_SECONDS)
    assert last_sign(LEASE, holder_lives=True, now=moment) == Sign(is_fresh=True, words="process 42, ready")


def test_a_leader_says_what_it_is_busy_with() -> None:
    lease = replace(LEASE, state=ControllerState.NO_ENGINE, detail="connection refused")
    words = last_sign(lease, holder_lives=True, now=NOW).words
    assert words == "process 42, no_engine: connection refused"


def test_a_leader_whose_beat_stands_still() -> None:
    moment = NOW + timedelta(seconds=FRESH_SECONDS + 1)
    sign = last_sign(LEASE, holder_lives=True, now=moment)
    assert sign == Sign(is_fresh=False, words="process 42 stands still for 16 s, was ready")


def test_a_beat_from_the_future_is_fresh() -> None:
    assert last_sign(LEASE, holder_lives=True, now=NOW - timedelta(days=1)).is_fresh
