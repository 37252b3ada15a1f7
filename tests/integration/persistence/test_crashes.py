"""A submission that is cut short by SIGKILL leaves job and bundle, or, once swept, neither."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ci_common.errors import NotFound
from ci_common.ids import InstanceId, JobId, new_job_id
from ci_persistence.bundle_files import DirectoryBundleStore
from tests.contract.world import World, line
from tests.integration.persistence.child import Child

StartChild = Callable[[], Child]


@pytest.fixture
def bundles(tmp_path: Path) -> DirectoryBundleStore:
    return DirectoryBundleStore(tmp_path, InstanceId("instance"))


def _submit_and_die(child: Child, world: World, when: str) -> JobId:
    job_id = new_job_id()
    assert child.do("submit-and-die", when, world.user_id, world.key_id, job_id) == ""
    return job_id


@pytest.mark.parametrize("when", ["before-publish", "after-publish"])
async def test_death_before_the_commit_leaves_neither(
    world: World, start_child: StartChild, bundles: DirectoryBundleStore, when: str
) -> None:
    job_id = _submit_and_die(start_child(), world, when)
    with pytest.raises(NotFound):
        await world.repository.get_job(job_id)
    assert await world.repository.sweep_bundles(bundles) == (1 if when == "after-publish" else 0)
    assert list(bundles.job_ids()) == []


async def test_death_after_the_commit_leaves_both(
    world: World, start_child: StartChild, bundles: DirectoryBundleStore
) -> None:
    job_id = _submit_and_die(start_child(), world, "after-commit")
    assert (await world.repository.get_job(job_id)).status == "queued"
    assert await world.repository.sweep_bundles(bundles) == 0
    with bundles.open(job_id) as file:
        assert file.read() == b"bundle"


async def test_same_submission_succeeds_after_the_crash(
    world: World, start_child: StartChild, bundles: DirectoryBundleStore
) -> None:
    job_id = _submit_and_die(start_child(), world, "after-publish")
    incoming = bundles.receive()
    incoming.file.write(b"sent again")
    _, made = await world.repository.submit(world.submission(job_id), lambda: incoming.publish(job_id))
    incoming.discard()
    assert made
    with bundles.open(job_id) as file:
        assert file.read() == b"sent again"


async def test_killed_reader_of_a_log_is_continued_without_gap_or_repeat(
    world: World, start_child: StartChild
) -> None:
    job = await world.running()
    child = start_child()
    child.begin("log", str(world.fence), job.id, "c1", "1", "1000000")
    while (await world.repository.get_job(job.id)).last_seq < 20:
        pass  # each turn is a read; the child writes as fast as it can
    child.kill()

    cut = await world.repository.get_job(job.id)
    assert cut.run is not None
    first = cut.run.position.offset_bytes + 1
    for offset in range(first, first + 5):
        await world.append(job.id, [line(f"{offset}\n")], offset)

    told = (await world.told(job.id))[1:]
    assert told == [line(f"{number}\n") for number in range(1, first + 5)]
