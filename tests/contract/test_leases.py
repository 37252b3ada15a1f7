from collections.abc import Awaitable, Callable

import pytest

from ci_common.clock import utc_now
from ci_common.errors import FenceLost
from ci_common.ids import ContainerId, Fence, JobId, VolumeName
from ci_common.models import (
    ControllerState,
    Environment,
    LeaseHolder,
    LogPosition,
    Outcome,
    Stage,
    Verdict,
)
from ci_common.repository import Repository
from tests.contract.world import HOLDER, World, a_run, an_environment, line

OTHER = LeaseHolder(pid=77, start_ticks=88, boot_id="boot")


async def test_no_lease_before_the_first_leader(repository: Repository) -> None:
    assert await repository.lease() is None
    with pytest.raises(FenceLost):
        await repository.beat(Fence(1), ControllerState.READY, "")


async def test_first_leadership(repository: Repository) -> None:
    lease = await repository.take_lease(HOLDER, None)
    assert lease.holder == HOLDER
    assert lease.state is ControllerState.STARTING
    assert await repository.lease() == lease


async def test_next_leadership_counts_on(repository: Repository) -> None:
    first = await repository.take_lease(HOLDER, None)
    second = await repository.take_lease(OTHER, first.fence)
    assert (second.fence, second.holder) == (first.fence + 1, OTHER)
    assert await repository.lease() == second


async def test_only_the_quickest_takes_the_lease(repository: Repository) -> None:
    first = await repository.take_lease(HOLDER, None)
    with pytest.raises(FenceLost):
        await repository.take_lease(OTHER, None)
    second = await repository.take_lease(OTHER, first.fence)
    with pytest.raises(FenceLost):
        await repository.take_lease(HOLDER, first.fence)
    assert await repository.lease() == second


async def test_beat_moves_and_tells_the_state(repository: Repository) -> None:
    taken = await repository.take_lease(HOLDER, None)
    await repository.beat(taken.fence, ControllerState.BUILDING_IMAGE, "debootstrap")
    lease = await repository.lease()
    assert lease is not None
    assert lease.beat != taken.beat
    assert lease.beat_time >= taken.beat_time
    assert (lease.state, lease.detail) == (ControllerState.BUILDING_IMAGE, "debootstrap")
    assert (lease.fence, lease.holder) == (taken.fence, HOLDER)
    await repository.beat(taken.fence, ControllerState.BUILDING_IMAGE, "debootstrap")
    again = await repository.lease()
    assert again is not None
    assert again.beat not in {lease.beat, taken.beat}


async def test_left_lease_has_no_holder_and_can_be_taken(repository: Repository) -> None:
    taken = await repository.take_lease(HOLDER, None)
    await repository.leave_lease(taken.fence)
    lease = await repository.lease()
    assert lease is not None
    assert (lease.holder, lease.state, lease.fence) == (None, ControllerState.STOPPED, taken.fence)
    with pytest.raises(FenceLost):
        await repository.beat(taken.fence, ControllerState.READY, "")
    assert (await repository.take_lease(OTHER, taken.fence)).fence == taken.fence + 1


FencedCall = Callable[[World, Fence, JobId], Awaitable[object]]

FENCED_CALLS: dict[str, FencedCall] = {
    "beat": lambda w, f, _: w.repository.beat(f, ControllerState.READY, ""),
    "leave_lease": lambda w, f, _: w.repository.leave_lease(f),
    "bind_run": lambda w, f, j: w.repository.bind_run(f, j, a_run("c2", f)),
    "append": lambda w, f, j: w.repository.append(
        f, j, ContainerId("c1"), [line("late")], LogPosition(5), fed=True
    ),
    "requeue": lambda w, f, j: w.repository.requeue(f, j, ContainerId("c1"), "gone", uses_attempt=True),
    "complete": lambda w, f, j: w.repository.complete(f, j, Verdict(Outcome.PASSED, exit_code=0)),
    "add_events": lambda w, f, j: w.repository.add_events(f, j, [line("late")]),
    "set_waiting": lambda w, f, j: w.repository.set_waiting(f, j, "late"),
    "use_environment": lambda w, f, _: w.repository.use_environment(f, VolumeName("volume"), utc_now()),
    "forget_environment": lambda w, f, _: w.repository.forget_environment(f, VolumeName("volume")),
}


@pytest.mark.parametrize("name", FENCED_CALLS)
@pytest.mark.parametrize("fence", [Fence(0), Fence(1), Fence(3)])
async def test_writes_of_no_present_leader_change_nothing(world: World, name: str, fence: Fence) -> None:
    repository = world.repository
    job, queued = await world.running(), await world.queued()
    entry = await _installed(world)
    assert (await repository.take_lease(OTHER, world.fence)).fence == Fence(2)

    async def everything() -> list[object]:
        jobs = await repository.list_jobs(None, 100)
        events = [await repository.events_after(listed.id, 0) for listed in jobs]
        return [jobs, events, await repository.lease(), await repository.list_environments()]

    before = await everything()
    for job_id in (job.id, queued.id):
        with pytest.raises(FenceLost):
            await FENCED_CALLS[name](world, fence, job_id)
    assert await everything() == before
    assert await repository.environment(entry.key) == entry


async def _installed(world: World) -> Environment:
    job = await world.running("installer", Stage.INSTALL)
    entry = an_environment(world.user_id)
    await world.repository.append(
        world.fence, job.id, ContainerId("installer"), [], LogPosition(1), environment=entry
    )
    return entry
