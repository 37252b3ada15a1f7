from datetime import timedelta

from ci_common.clock import utc_now
from ci_common.ids import ContainerId, VolumeName
from ci_common.models import Environment, LogPosition, Stage
from tests.contract.world import World, an_environment


async def _install(world: World, entry: Environment) -> None:
    container = ContainerId(f"installer-{entry.volume}")
    job = await world.running(container, Stage.INSTALL)
    stored = await world.repository.append(
        world.fence, job.id, container, [], LogPosition(1), environment=entry
    )
    assert stored is not None


async def test_entries_are_found_by_key(world: World) -> None:
    entry = an_environment(world.user_id)
    await _install(world, entry)
    assert await world.repository.environment(entry.key) == entry
    assert await world.repository.environment("another") is None


async def test_newer_entry_replaces_the_one_of_its_key(world: World) -> None:
    older = an_environment(world.user_id, "key", "older")
    newer = an_environment(world.user_id, "key", "newer")
    await _install(world, older)
    await _install(world, newer)
    assert await world.repository.list_environments() == [newer]


async def test_lost_container_makes_no_entry(world: World) -> None:
    job = await world.running("c1", Stage.INSTALL)
    entry = an_environment(world.user_id)
    stored = await world.repository.append(
        world.fence, job.id, ContainerId("c2"), [], LogPosition(1), environment=entry
    )
    assert stored is None
    assert await world.repository.list_environments() == []


async def test_use_is_recorded(world: World) -> None:
    entry, other = an_environment(world.user_id), an_environment(world.user_id, "other", "other")
    await _install(world, entry)
    await _install(world, other)
    later = utc_now() + timedelta(hours=1)
    await world.repository.use_environment(world.fence, entry.volume, later)
    await world.repository.use_environment(world.fence, VolumeName("gone"), later)
    used = await world.repository.environment(entry.key)
    assert used is not None
    assert (used.last_used_at, used.created_at) == (later, entry.created_at)
    assert await world.repository.environment("other") == other


async def test_forgotten_entries_are_gone(world: World) -> None:
    entry, other = an_environment(world.user_id), an_environment(world.user_id, "other", "other")
    await _install(world, entry)
    await _install(world, other)
    for volume in (entry.volume, entry.volume, VolumeName("unknown")):
        await world.repository.forget_environment(world.fence, volume)
    assert await world.repository.list_environments() == [other]
