from datetime import UTC, datetime, timedelta

import pytest

from ci_common.ids import Fence
from ci_common.models import ControllerState, Lease, LeaseHolder
from ci_common.repository import QueuePlace
from ci_server.waiting import (
    BEAT_STALE_SECONDS,
    NO_CONTROLLER,
    PATIENCE_SECONDS,
    ControllerView,
    ControllerWatch,
    reason_to_wait,
)
from tests.fakes.memory_repository import MemoryRepository

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
READY = ControllerView(is_alive=True, state=ControllerState.READY, detail="")


@pytest.mark.parametrize(
    ("controller", "waiting", "place", "waited_seconds", "expected"),
    [
        (NO_CONTROLLER, "x", 3, 0, "no controller is running"),
        (ControllerView(False, ControllerState.READY, ""), None, 1, 0, "no controller is running"),
        (ControllerView(True, ControllerState.STARTING, ""), None, 1, 0, "controller is starting"),
        (ControllerView(True, ControllerState.STOPPED, ""), None, 1, 0, "has been stopped"),
        (
            ControllerView(True, ControllerState.NO_ENGINE, "refused"),
            None,
            2,
            0,
            "engine can't be reached (ref",
        ),
        (ControllerView(True, ControllerState.BUILDING_IMAGE, ""), None, 2, 0, "base image is being built"),
        (READY, "its environment is being installed", 2, 0, "its environment is being installed"),
        (READY, None, 2, 0, "number 2 in the queue"),
        (READY, None, 1, PATIENCE_SECONDS, "next in the queue"),
    ],
)
def test_the_most_telling_reason_is_given(
    controller: ControllerView, waiting: str | None, place: int, waited_seconds: float, expected: str
) -> None:
    reason = reason_to_wait(QueuePlace(place, waiting), controller, waited_seconds)
    assert reason is not None
    assert reason.startswith("waiting: ")
    assert expected in reason


def test_a_job_that_is_just_being_started_does_not_wait() -> None:
    assert reason_to_wait(QueuePlace(1, None), READY, PATIENCE_SECONDS / 2) is None


class Leading(MemoryRepository):
    def __init__(self) -> None:
        super().__init__()
        self.present: Lease | None = None

    async def lease(self) -> Lease | None:
        return self.present


class Moment:
    def __init__(self) -> None:
        self.monotonic_seconds = 1000.0
        self.wall = NOON

    def pass_by(self, seconds: float) -> None:
        self.monotonic_seconds += seconds
        self.wall += timedelta(seconds=seconds)


def lease(beat: int, beat_time: datetime, *, fence: int = 1, held: bool = True) -> Lease:
    holder = LeaseHolder(pid=1, start_ticks=1, boot_id="b") if held else None
    return Lease(Fence(fence), holder, beat, beat_time, ControllerState.READY, "")


def watching() -> tuple[ControllerWatch, Leading, Moment]:
    repository, moment = Leading(), Moment()
    watch = ControllerWatch(repository, lambda: moment.monotonic_seconds, lambda: moment.wall)
    return watch, repository, moment


async def test_without_a_leader_there_is_no_controller() -> None:
    watch, repository, moment = watching()
    assert await watch.view() == NO_CONTROLLER
    repository.present = lease(1, NOON, held=False)
    moment.pass_by(1)
    assert await watch.view() == NO_CONTROLLER


async def test_a_beat_that_moves_shows_life_whatever_the_wall_clock_says() -> None:
    watch, repository, moment = watching()
    for beat in range(20):
        repository.present = lease(beat, NOON - timedelta(days=1) * (beat > 0))
        assert (await watch.view()).is_alive
        moment.pass_by(BEAT_STALE_SECONDS)


async def test_a_beat_that_stands_still_shows_death_after_a_while() -> None:
    watch, repository, moment = watching()
    repository.present = lease(7, NOON)
    assert (await watch.view()).is_alive
    moment.pass_by(BEAT_STALE_SECONDS - 1)
    assert (await watch.view()).is_alive
    moment.pass_by(2)
    assert not (await watch.view()).is_alive
    repository.present = lease(7, NOON, fence=2)
    moment.pass_by(1)
    assert (await watch.view()).is_alive


async def test_a_leader_that_died_long_ago_is_known_dead_at_first_sight() -> None:
    watch, repository, _ = watching()
    repository.present = lease(7, NOON - timedelta(minutes=5))
    assert not (await watch.view()).is_alive


async def test_a_beat_from_the_future_is_a_fresh_one() -> None:
    watch, repository, _ = watching()
    repository.present = lease(7, NOON + timedelta(hours=1))
    assert (await watch.view()).is_alive
