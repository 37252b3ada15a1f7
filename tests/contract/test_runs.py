"""A job and its containers: bound, read, lost, ended."""

from dataclasses import replace

import pytest

from ci_common.errors import NotFound
from ci_common.event_data import complete_data, notice_data, status_data
from ci_common.ids import ContainerId, VolumeName, new_job_id
from ci_common.models import (
    JobStatus,
    LogPosition,
    Outcome,
    Phase,
    Reason,
    Stage,
    Verdict,
)
from tests.contract.world import World, a_run, an_environment, line

PASSED = Verdict(Outcome.PASSED, exit_code=0)
C1, C2 = ContainerId("c1"), ContainerId("c2")


async def test_bound_job_runs(world: World) -> None:
    job = await world.queued()
    await world.repository.set_waiting(world.fence, job.id, "an image is being built")
    run = a_run("c1", world.fence, environment=VolumeName("env"))
    bound = await world.repository.bind_run(world.fence, job.id, run)
    assert bound is not None
    assert (bound.status, bound.run, bound.attempt, bound.waiting) == (JobStatus.RUNNING, run, 1, None)
    assert bound.start_time is not None
    assert await world.repository.get_job(job.id) == bound
    assert await world.told(job.id) == [status_data(JobStatus.RUNNING)]


async def test_an_installation_keeps_the_key_of_what_it_fills(world: World) -> None:
    job = await world.queued()
    run = replace(a_run("c1", world.fence, Stage.INSTALL, VolumeName("env")), environment_key="k" * 64)
    bound = await world.repository.bind_run(world.fence, job.id, run)
    assert bound is not None
    assert (await world.repository.get_job(job.id)).run == run


async def test_binding_the_same_container_again_changes_nothing(world: World) -> None:
    job = await world.running()
    read = await world.append(job.id, [line("x")], 10)
    again = await world.repository.bind_run(world.fence, job.id, a_run("c1", world.fence))
    assert again == read


async def test_job_is_bound_to_one_container(world: World) -> None:
    job = await world.running()
    assert await world.repository.bind_run(world.fence, job.id, a_run("c2", world.fence)) is None
    assert await world.repository.get_job(job.id) == job


async def test_unwanted_jobs_are_not_bound(world: World) -> None:
    done = await world.queued()
    await world.repository.request_cancel(done.id, Reason.CANCELLED_BY_USER)
    between = await world.running("c3", Stage.INSTALL)
    await world.repository.append(
        world.fence,
        between.id,
        ContainerId("c3"),
        [],
        LogPosition(1),
        environment=an_environment(world.user_id),
    )
    await world.repository.request_cancel(between.id, Reason.CANCELLED_BY_USER)
    for job_id in (done.id, between.id, new_job_id()):
        assert await world.repository.bind_run(world.fence, job_id, a_run("c2", world.fence)) is None


async def test_output_comes_with_its_position(world: World) -> None:
    job = await world.running()
    position = LogPosition(offset_bytes=77, pending=b"\xf0\x9f")
    read = await world.repository.append(
        world.fence, job.id, C1, [line("one\n"), line("ü\x00\ud800")], position, fed=True
    )
    assert read is not None
    assert read.run is not None
    assert (read.run.position, read.run.fed, read.last_seq) == (position, True, 3)
    assert await world.repository.get_job(job.id) == read
    assert (await world.told(job.id))[1:] == [line("one\n"), line("ü\x00\ud800")]


async def test_fed_stays(world: World) -> None:
    job = await world.running()
    await world.repository.append(world.fence, job.id, C1, [], LogPosition(1), fed=True)
    later = await world.append(job.id, [line("x")], 2)
    assert later is not None
    assert later.run is not None
    assert later.run.fed


async def test_other_containers_output_is_not_stored(world: World) -> None:
    job, queued = await world.running(), await world.queued()
    assert await world.append(job.id, [line("x")], 1, container="c2") is None
    assert await world.append(queued.id, [line("x")], 1) is None
    assert await world.append(new_job_id(), [line("x")], 1) is None
    assert await world.repository.get_job(job.id) == job
    assert await world.told_types(job.id) == ["status"]


async def test_verdict_completes_with_the_last_output(world: World) -> None:
    job = await world.running()
    ended = await world.repository.append(
        world.fence, job.id, C1, [line("1 failed\n")], LogPosition(9), verdict=Verdict(Outcome.FAILED, 1)
    )
    assert ended is not None
    assert (ended.status, ended.outcome, ended.exit_code) == (JobStatus.COMPLETED, Outcome.FAILED, 1)
    assert (ended.success, ended.run, ended.reason) == (False, None, None)
    assert ended.end_time is not None
    assert await world.repository.get_job(job.id) == ended
    assert (await world.told(job.id))[1:] == [line("1 failed\n"), complete_data(Outcome.FAILED, 1, None)]


async def test_nothing_follows_the_end(world: World) -> None:
    job = await world.running()
    ended = await world.repository.complete(world.fence, job.id, PASSED)
    assert await world.append(job.id, [line("late")], 1) is None
    assert await world.repository.add_events(world.fence, job.id, [notice_data("late")]) == ended
    assert await world.repository.complete(world.fence, job.id, Verdict(Outcome.LOST)) == ended
    assert await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_USER) == ended
    assert await world.repository.requeue(world.fence, job.id, C1, "late", uses_attempt=True) is None
    assert await world.repository.requeue(world.fence, job.id, None, "late", uses_attempt=True) is None
    await world.repository.set_waiting(world.fence, job.id, "late")
    assert await world.repository.get_job(job.id) == ended
    assert await world.told_types(job.id) == ["status", "complete"]


async def test_queued_job_may_end_without_a_container(world: World) -> None:
    job = await world.queued()
    verdict = Verdict(Outcome.ERROR, reason=Reason.BAD_BUNDLE)
    ended = await world.repository.complete(world.fence, job.id, verdict, [notice_data("unreadable")])
    assert (ended.outcome, ended.reason, ended.start_time) == (Outcome.ERROR, Reason.BAD_BUNDLE, None)
    assert await world.told(job.id) == [
        notice_data("unreadable"),
        complete_data(Outcome.ERROR, None, Reason.BAD_BUNDLE),
    ]


async def test_cancelling_a_queued_job_ends_it(world: World) -> None:
    job = await world.queued()
    ended = await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_ADMIN)
    assert (ended.status, ended.outcome) == (JobStatus.COMPLETED, Outcome.CANCELLED)
    assert ended.reason is Reason.CANCELLED_BY_ADMIN
    assert await world.told(job.id) == [complete_data(Outcome.CANCELLED, None, Reason.CANCELLED_BY_ADMIN)]


async def test_first_to_cancel_a_running_job_gives_the_reason(world: World) -> None:
    job = await world.running()
    marked = await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_USER)
    assert (marked.status, marked.cancel_reason) == (JobStatus.RUNNING, Reason.CANCELLED_BY_USER)
    assert await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_ADMIN) == marked
    assert await world.append(job.id, [line("still\n")], 5) is not None


async def test_cancellation_overrides_any_verdict(world: World) -> None:
    by_log, by_hand, by_loss = [await world.running(f"c{n}") for n in (1, 2, 3)]
    for job in (by_log, by_hand, by_loss):
        await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_USER)
    repository, fence = world.repository, world.fence
    await repository.append(fence, by_log.id, C1, [line("1 passed")], LogPosition(1), verdict=PASSED)
    await repository.complete(fence, by_hand.id, PASSED)
    await repository.requeue(fence, by_loss.id, ContainerId("c3"), "gone", uses_attempt=True)
    for job in (by_log, by_hand, by_loss):
        ended = await repository.get_job(job.id)
        assert (ended.status, ended.outcome) == (JobStatus.COMPLETED, Outcome.CANCELLED)
        assert (ended.success, ended.exit_code) == (False, None)
        assert ended.reason is Reason.CANCELLED_BY_USER
        assert (await world.told_types(job.id))[-1] == "complete"


async def test_lost_container_sends_the_job_back(world: World) -> None:
    other, job = await world.queued(), await world.running()
    back = await world.repository.requeue(world.fence, job.id, C1, "the engine restarted", uses_attempt=True)
    assert back is not None
    assert (back.status, back.attempt, back.run) == (JobStatus.QUEUED, 2, None)
    assert back.start_time == job.start_time
    assert (await world.told(job.id))[1:] == [
        notice_data("the engine restarted"),
        status_data(JobStatus.QUEUED),
    ]
    assert [queued.id for queued in await world.repository.queued_jobs(9)] == [other.id, job.id]
    again = await world.repository.bind_run(world.fence, job.id, a_run("c2", world.fence))
    assert again is not None
    assert (again.start_time, again.attempt) == (job.start_time, 2)
    assert again.run == a_run("c2", world.fence)
    assert await world.append(job.id, [line("late")], 1, container="c1") is None
    assert await world.append(job.id, [line("anew")], 1, container="c2") is not None


async def test_going_back_may_cost_no_attempt_and_say_nothing(world: World) -> None:
    job = await world.running()
    back = await world.repository.requeue(world.fence, job.id, C1, None, uses_attempt=False)
    assert back is not None
    assert back.attempt == 1
    assert await world.told_types(job.id) == ["status", "status"]


async def test_only_the_bound_container_can_be_lost(world: World) -> None:
    job, queued = await world.running(), await world.queued()
    for job_id, container in ((job.id, C2), (job.id, None), (queued.id, None), (new_job_id(), C1)):
        lost = await world.repository.requeue(world.fence, job_id, container, "gone", uses_attempt=True)
        assert lost is None
    assert await world.repository.get_job(job.id) == job
    assert await world.repository.get_job(queued.id) == queued


async def test_installed_environment_ends_the_stage(world: World) -> None:
    job = await world.running("c1", Stage.INSTALL)
    entry = an_environment(world.user_id)
    between = await world.repository.append(
        world.fence, job.id, C1, [line("ok\n", Phase.INSTALL)], LogPosition(5), environment=entry
    )
    assert between is not None
    assert (between.status, between.run) == (JobStatus.RUNNING, None)
    assert between.environment == entry.volume
    assert await world.repository.environment(entry.key) == entry
    assert await world.append(job.id, [line("late")], 9) is None

    run = a_run("c2", world.fence, environment=entry.volume)
    testing = await world.repository.bind_run(world.fence, job.id, run)
    assert testing is not None
    assert (testing.run, testing.environment) == (run, entry.volume)
    assert await world.told_types(job.id) == ["status", "log"]


async def test_job_between_its_containers_can_go_back_or_end(world: World) -> None:
    for number in (1, 2):
        container = ContainerId(f"i{number}")
        job = await world.running(container, Stage.INSTALL)
        entry = an_environment(world.user_id, key=f"k{number}", volume=f"v{number}")
        await world.repository.append(world.fence, job.id, container, [], LogPosition(1), environment=entry)
        if number == 1:
            back = await world.repository.requeue(world.fence, job.id, None, None, uses_attempt=True)
            assert back is not None
            assert (back.status, back.environment) == (JobStatus.QUEUED, None)
        else:
            await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_USER)
            ended = await world.repository.complete(world.fence, job.id, Verdict(Outcome.CANCELLED))
            assert ended.reason is Reason.CANCELLED_BY_USER


async def test_notices_are_told(world: World) -> None:
    job = await world.queued()
    told = await world.repository.add_events(world.fence, job.id, [notice_data("no engine")])
    assert told.last_seq == 1
    assert await world.told(job.id) == [notice_data("no engine")]
    assert (await world.repository.add_events(world.fence, job.id, [])) == told


async def test_reason_for_waiting_is_kept_for_queued_jobs_alone(world: World) -> None:
    queued, running = await world.queued(), await world.running()
    for job in (queued, running):
        await world.repository.set_waiting(world.fence, job.id, "no engine")
    assert (await world.repository.get_job(queued.id)).waiting == "no engine"
    assert (await world.repository.get_job(running.id)).waiting is None
    await world.repository.set_waiting(world.fence, queued.id, None)
    assert (await world.repository.get_job(queued.id)).waiting is None


async def test_waiting_jobs_that_end_wait_no_more(world: World) -> None:
    job = await world.queued()
    await world.repository.set_waiting(world.fence, job.id, "no engine")
    assert (await world.repository.request_cancel(job.id, Reason.CANCELLED_BY_USER)).waiting is None


async def test_unknown_jobs_are_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.repository.complete(world.fence, new_job_id(), PASSED)
    with pytest.raises(NotFound):
        await world.repository.add_events(world.fence, new_job_id(), [])
    with pytest.raises(NotFound):
        await world.repository.set_waiting(world.fence, new_job_id(), None)
