"""When phases of a job were: kept with writes that happen anyway."""

from datetime import UTC, datetime, timedelta

from ci_common.ids import ContainerId, JobId, new_job_id
from ci_common.job_times import NO_TIMES, JobTimes, Milestone
from ci_common.models import LogPosition, Outcome, Stage, Verdict
from tests.contract.world import World, a_run, an_environment, line, nothing

ZERO = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
C1 = ContainerId("c1")


def at(**microseconds: int) -> JobTimes:
    return JobTimes(
        {Milestone(name): ZERO + timedelta(microseconds=value) for name, value in microseconds.items()}
    )


async def submitted(world: World, times: JobTimes = NO_TIMES) -> JobId:
    job, made = await world.repository.submit(world.submission(), nothing, times)
    assert made
    return job.id


async def noted(world: World, job_id: JobId) -> JobTimes:
    """What is known but for the moment at which it was stored."""
    moments = dict((await world.repository.job_times(job_id)).moments)
    del moments[Milestone.STORED]
    return JobTimes(moments)


async def test_a_submission_brings_the_servers_moments(world: World) -> None:
    job_id = await submitted(world, at(received=0, uploaded=7, checked=-3))
    assert await noted(world, job_id) == at(received=0, uploaded=7, checked=-3)
    stored = (await world.repository.job_times(job_id)).moments[Milestone.STORED]
    assert stored.utcoffset() == timedelta(0)


async def test_a_job_without_moments_has_its_own(world: World) -> None:
    job = await world.queued()
    assert await noted(world, job.id) == NO_TIMES
    ended = await world.repository.complete(world.fence, job.id, Verdict(Outcome.ERROR))
    times = await world.repository.job_times(job.id)
    assert times.moments[Milestone.COMPLETED] == ended.end_time


async def test_binding_and_output_bring_the_controllers(world: World) -> None:
    job_id = await submitted(world, at(received=0))
    run = a_run("c1", world.fence)
    await world.repository.bind_run(world.fence, job_id, run, at(admitted=5, bound=9))
    await world.repository.append(world.fence, job_id, C1, [], LogPosition(1), fed=True, times=at(fed=20))
    await world.append(job_id, [line("x")], 2)
    assert await noted(world, job_id) == at(received=0, admitted=5, bound=9, fed=20)


async def test_what_is_known_of_an_attempt_stands(world: World) -> None:
    job_id = await submitted(world)
    await world.repository.bind_run(world.fence, job_id, a_run("c1", world.fence), at(bound=9))
    append = world.repository.append
    await append(world.fence, job_id, C1, [], LogPosition(1), times=at(first_output=20))
    await append(world.fence, job_id, C1, [], LogPosition(2), times=at(first_output=90, tests_ended=99))
    assert await noted(world, job_id) == at(bound=9, first_output=20, tests_ended=99)


async def test_both_containers_of_an_attempt_are_told(world: World) -> None:
    job_id = await submitted(world)
    run = a_run("c1", world.fence, Stage.INSTALL)
    await world.repository.bind_run(world.fence, job_id, run, at(installer_bound=1))
    entry = an_environment(world.user_id)
    await world.repository.append(
        world.fence, job_id, C1, [], LogPosition(1), environment=entry, times=at(installer_ended=2)
    )
    run = a_run("c2", world.fence, environment=entry.volume)
    await world.repository.bind_run(world.fence, job_id, run, at(bound=3))
    assert await noted(world, job_id) == at(installer_bound=1, installer_ended=2, bound=3)


async def test_the_last_attempt_is_told(world: World) -> None:
    job_id = await submitted(world, at(received=0))
    await world.repository.bind_run(world.fence, job_id, a_run("c1", world.fence), at(admitted=5, bound=9))
    await world.repository.requeue(world.fence, job_id, C1, "gone", uses_attempt=True)
    assert await noted(world, job_id) == at(received=0, admitted=5, bound=9)
    await world.repository.bind_run(world.fence, job_id, a_run("c2", world.fence), at(admitted=50))
    assert await noted(world, job_id) == at(received=0, admitted=50)


async def test_what_changes_nothing_brings_no_moments(world: World) -> None:
    job = await world.running()
    other = a_run("c2", world.fence)
    assert await world.repository.bind_run(world.fence, job.id, other, at(bound=9)) is None
    lost = await world.repository.append(
        world.fence, job.id, ContainerId("c2"), [], LogPosition(1), times=at(fed=9)
    )
    assert lost is None
    assert await noted(world, job.id) == NO_TIMES


async def test_the_end_is_the_jobs_own(world: World) -> None:
    job = await world.running()
    verdict = Verdict(Outcome.PASSED, 0)
    ended = await world.repository.append(
        world.fence, job.id, C1, [], LogPosition(1), verdict=verdict, times=at(result_seen=7)
    )
    assert ended is not None
    times = await world.repository.job_times(job.id)
    assert times.moments[Milestone.COMPLETED] == ended.end_time
    assert times.moments[Milestone.RESULT_SEEN] == ZERO + timedelta(microseconds=7)


async def test_nothing_is_known_of_no_job(world: World) -> None:
    assert await world.repository.job_times(new_job_id()) == NO_TIMES
