from ci_common.ids import new_job_id
from ci_common.models import JobEvent
from tests.contract.world import World, line


async def test_events_are_read_from_any_number_on(world: World) -> None:
    job = await world.running()
    await world.append(job.id, [line(str(number)) for number in range(9)], 1)

    async def numbers(after: int) -> list[int]:
        return [event.seq for event in await world.repository.events_after(job.id, after)]

    assert await numbers(0) == list(range(1, 11))
    assert await numbers(4) == list(range(5, 11))
    assert await numbers(10) == []
    assert await numbers(99) == []


async def test_a_read_ends_once_it_has_come_to_its_limit(world: World) -> None:
    job = await world.running()
    await world.append(job.id, [line("x" * 1000) for _ in range(10)], 1)

    async def read(after: int, limit_bytes: int) -> list[JobEvent]:
        return list(await world.repository.events_after(job.id, after, limit_bytes))

    size = len((await read(1, 1))[0].json)
    assert [event.seq for event in await read(1, 1)] == [2]
    assert [event.seq for event in await read(1, size)] == [2]
    assert [event.seq for event in await read(1, size * 3)] == [2, 3, 4]
    # What comes to less than the limit is all that there was.
    assert [event.seq for event in await read(1, size * 3 + 1)] == [2, 3, 4, 5]
    assert [event.seq for event in await read(9, size * 3 + 1)] == [10, 11]


async def test_a_line_of_any_length_is_one_event(world: World) -> None:
    job = await world.running()
    text = "ü" * 1_000_000
    await world.append(job.id, [line(text)], 1)
    assert (await world.told(job.id))[1] == line(text)


async def test_unknown_job_has_no_events(world: World) -> None:
    assert await world.repository.events_after(new_job_id(), 0) == []


async def test_jobs_are_numbered_apart(world: World) -> None:
    first, second = await world.running("c1"), await world.running("c2")
    for offset in range(3):
        await world.append(first.id, [line("a")], offset, container="c1")
        await world.append(second.id, [line("b")], offset, container="c2")
    assert (await world.told(first.id))[1:] == [line("a")] * 3
    assert (await world.told(second.id))[1:] == [line("b")] * 3
