from dataclasses import replace
from datetime import timedelta

import pytest

from ci_common.clock import utc_now
from ci_common.errors import AlreadyExists, NotFound, NotPermitted
from ci_common.ids import JobId, new_job_id, new_key_id
from ci_common.models import JobStatus, Reason, SubmitOptions
from ci_common.repository import QueueCounts, QueuePlace
from tests.contract.world import World, another_user, nothing


class Publication:
    """A `publish` that counts, and may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls = 0
        self._error = error

    def __call__(self) -> None:
        self.calls += 1
        if self._error is not None:
            raise self._error


OPTIONS = [
    SubmitOptions(),
    SubmitOptions(pytest_args=(), color=True, columns=120, fresh=True),
    SubmitOptions(pytest_args=("-k", "not slow", "ü\ud800\x00")),
]


@pytest.mark.parametrize("options", OPTIONS)
async def test_submission_makes_a_queued_job(world: World, options: SubmitOptions) -> None:
    submission = world.submission(options=options)
    publication = Publication()
    job, made = await world.repository.submit(submission, publication)
    assert made
    assert publication.calls == 1
    assert (job.id, job.user_id, job.status) == (submission.job_id, world.user_id, JobStatus.QUEUED)
    assert (job.options, job.bundle_bytes) == (options, submission.bundle_bytes)
    assert (job.submit_time, job.attempt, job.last_seq) == (submission.submit_time, 1, 0)
    assert (job.outcome, job.success, job.run) == (None, None, None)
    assert await world.repository.get_job(job.id) == job


async def test_failing_publication_leaves_nothing(world: World) -> None:
    submission = world.submission()
    with pytest.raises(OSError, match="disk"):
        await world.repository.submit(submission, Publication(OSError("disk")))
    with pytest.raises(NotFound):
        await world.repository.get_job(submission.job_id)
    _, made = await world.repository.submit(submission, nothing)
    assert made


async def test_same_submission_again_answers_as_for_the_first(world: World) -> None:
    submission = world.submission()
    job, _ = await world.repository.submit(submission, nothing)
    publication = Publication()
    again, made = await world.repository.submit(submission, publication)
    assert (again, made, publication.calls) == (job, False, 0)


async def test_id_of_somebody_elses_job_is_refused(world: World) -> None:
    job = await world.queued()
    other = await another_user(world)
    publication = Publication()
    with pytest.raises(AlreadyExists):
        await world.repository.submit(other.submission(job.id), publication)
    assert publication.calls == 0
    assert await world.repository.get_job(job.id) == job


async def test_key_is_checked_again(world: World) -> None:
    other = await another_user(world)
    expired = await world.repository.create_key(
        world.user_id, "old", "old", b"3", utc_now() - timedelta(seconds=1)
    )
    revoked = await world.repository.create_key(world.user_id, "lost", "lost", b"4", None)
    await world.repository.revoke_key(revoked.id)
    for key_id in (new_key_id(), other.key_id, expired.id, revoked.id):
        publication = Publication()
        submission = replace(world.submission(), key_id=key_id)
        with pytest.raises(NotPermitted):
            await world.repository.submit(submission, publication)
        assert publication.calls == 0


async def test_key_that_has_not_expired_is_good(world: World) -> None:
    key = await world.repository.create_key(world.user_id, "new", "new", b"3", utc_now() + timedelta(hours=1))
    _, made = await world.repository.submit(replace(world.submission(), key_id=key.id), nothing)
    assert made


async def test_deactivated_user_is_refused_even_for_an_old_job(world: World) -> None:
    submission = world.submission()
    await world.repository.submit(submission, nothing)
    await world.repository.set_user_active(world.user_id, False)
    with pytest.raises(NotPermitted):
        await world.repository.submit(submission, nothing)


async def test_unknown_job_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.repository.get_job(new_job_id())
    with pytest.raises(NotFound):
        await world.repository.request_cancel(new_job_id(), Reason.CANCELLED_BY_USER)


async def test_instance_id_stays(world: World) -> None:
    first = await world.repository.instance_id()
    assert first
    assert await world.repository.instance_id() == first


async def _submit(world: World, text: str) -> JobId:
    job, _ = await world.repository.submit(world.submission(JobId(text)), nothing)
    return job.id


async def test_jobs_are_found_by_the_beginning_of_their_id(world: World) -> None:
    ids = [
        await _submit(world, text)
        for text in (
            "aaaa1111-0000-4000-8000-000000000000",
            "aaaa2222-0000-4000-8000-000000000000",
            "aaaa3333-0000-4000-8000-000000000000",
            "ffffffff-ffff-4fff-bfff-ffffffffffff",
        )
    ]
    other = await another_user(world)
    theirs = await _submit(other, "aaaa1111-ffff-4000-8000-000000000000")

    async def found(world: World, prefix: str, *, anybodys: bool = False) -> list[JobId]:
        user_id = None if anybodys else world.user_id
        return [job.id for job in await world.repository.find_jobs(user_id, prefix)]

    assert await found(world, "aaaa1") == [ids[0]]
    assert await found(world, ids[0]) == [ids[0]]
    assert len(await found(world, "aaaa")) == 2
    assert await found(world, "ffff") == [ids[3]]
    assert await found(world, "bbbb") == []
    assert await found(other, "aaaa") == [theirs]
    assert set(await found(other, "aaaa1", anybodys=True)) == {ids[0], theirs}


async def test_jobs_are_listed_newest_first_in_pages(world: World) -> None:
    jobs = [await world.queued() for _ in range(5)]
    other = await another_user(world)
    theirs = await other.queued()
    newest_first = [job.id for job in reversed(jobs)]

    async def listed(*, limit: int = 100, before: JobId | None = None) -> list[JobId]:
        return [job.id for job in await world.repository.list_jobs(world.user_id, limit, before)]

    assert await listed() == newest_first
    assert await listed(limit=2) == newest_first[:2]
    assert await listed(limit=2, before=newest_first[1]) == newest_first[2:4]
    assert await listed(before=newest_first[4]) == []
    with pytest.raises(NotFound):
        await listed(before=theirs.id)
    with pytest.raises(NotFound):
        await listed(before=new_job_id())
    everybodys = await world.repository.list_jobs(None, 100)
    assert [job.id for job in everybodys] == [theirs.id, *newest_first]
    behind = await world.repository.list_jobs(None, 100, theirs.id)
    assert [job.id for job in behind] == newest_first


async def test_jobs_are_listed_by_status(world: World) -> None:
    first, done = await world.queued(), await world.queued()
    running = await world.running()
    await world.repository.request_cancel(done.id, Reason.CANCELLED_BY_USER)
    second = await world.queued()

    async def listed(status: JobStatus, before: JobId | None = None) -> list[JobId]:
        mine = await world.repository.list_jobs(world.user_id, 100, before, status)
        anybodys = await world.repository.list_jobs(None, 100, before, status)
        assert mine == anybodys
        return [job.id for job in mine]

    assert await listed(JobStatus.QUEUED) == [second.id, first.id]
    assert await listed(JobStatus.QUEUED, second.id) == [first.id]
    assert await listed(JobStatus.RUNNING) == [running.id]
    assert await listed(JobStatus.COMPLETED) == [done.id]


async def test_queue_is_in_the_order_of_submission(world: World) -> None:
    first, second = await world.queued(), await world.queued()
    running = await world.running()
    found = await world.repository.queue_places([second.id, running.id, new_job_id(), first.id])
    assert found == {first.id: QueuePlace(1, None), second.id: QueuePlace(2, None)}
    assert await world.repository.queue_places([running.id]) == {}
    assert await world.repository.queue_places([]) == {}
    assert [job.id for job in await world.repository.queued_jobs(10)] == [first.id, second.id]
    assert [job.id for job in await world.repository.queued_jobs(1)] == [first.id]
    assert [job.id for job in await world.repository.running_jobs()] == [running.id]
    assert await world.repository.queue_counts() == QueueCounts(queued=2, running=1)
    await world.repository.request_cancel(first.id, Reason.CANCELLED_BY_USER)
    await world.repository.set_waiting(world.fence, second.id, "soon")
    assert await world.repository.queue_places([second.id]) == {second.id: QueuePlace(1, "soon")}


async def test_unfinished_jobs_hold_their_bundles(world: World) -> None:
    repository = world.repository
    stranger = await another_user(world)
    assert await repository.unfinished_bundle_bytes(world.user_id) == 0
    first, _ = await world.queued(), await world.running()
    assert await repository.unfinished_bundle_bytes(world.user_id) == 2 * first.bundle_bytes
    await repository.request_cancel(first.id, Reason.CANCELLED_BY_USER)
    assert await repository.unfinished_bundle_bytes(world.user_id) == first.bundle_bytes
    assert await repository.unfinished_bundle_bytes(stranger.user_id) == 0


async def test_empty_queue(world: World) -> None:
    assert await world.repository.queue_counts() == QueueCounts(queued=0, running=0)
    assert await world.repository.queued_jobs(10) == []
    assert await world.repository.running_jobs() == []


async def test_many_jobs_are_looked_up_at_once(world: World) -> None:
    first, running = await world.queued(), await world.running()
    ids = [first.id, new_job_id(), running.id]
    assert await world.repository.jobs_by_id(ids) == {first.id: first, running.id: running}
    assert await world.repository.last_seqs(ids) == {first.id: 0, running.id: 1}
    assert await world.repository.jobs_by_id([]) == {}
    assert await world.repository.last_seqs([]) == {}
