from pathlib import Path

from ci_common.ids import InstanceId, JobId, new_job_id
from ci_common.models import Reason
from ci_persistence.bundle_files import DirectoryBundleStore
from tests.contract.world import World


async def test_only_bundles_of_unfinished_jobs_stay(world: World, tmp_path: Path) -> None:
    bundles = DirectoryBundleStore(tmp_path, InstanceId("instance"))

    def publish(job_id: JobId) -> None:
        incoming = bundles.receive()
        incoming.publish(job_id)
        incoming.discard()

    async def submitted() -> JobId:
        submission = world.submission()
        job, _ = await world.repository.submit(submission, lambda: publish(submission.job_id))
        return job.id

    queued, done, orphan = await submitted(), await submitted(), new_job_id()
    publish(orphan)
    await world.repository.request_cancel(done, Reason.CANCELLED_BY_USER)

    assert await world.repository.sweep_bundles(bundles) == 2
    assert list(bundles.job_ids()) == [queued]
    assert await world.repository.sweep_bundles(bundles) == 0
