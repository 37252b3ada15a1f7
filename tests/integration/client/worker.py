"""Plays the controller for one user's jobs, from the test's own thread."""

import asyncio
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ci_common.event_data import log_data
from ci_common.ids import JobId
from ci_common.models import Job, JobStatus, Outcome, Phase, Reason, Verdict
from ci_persistence.bundle_files import DirectoryBundleStore
from tests.e2e.conditions import PATIENCE_SECONDS
from tests.e2e.processes import Finished, Running
from tests.integration.server.serving import Account, Driver

Found = TypeVar("Found")
_LOOK_SECONDS = 0.02


class Worker:
    """The jobs of `account`, brought forward by hand."""

    def __init__(self, driver: Driver, account: Account, db_path: Path) -> None:
        self._driver = driver
        self._db_path = db_path
        self._account = account

    @property
    def driver(self) -> Driver:
        return self._driver

    async def jobs(self) -> list[Job]:
        return list(await self._driver.repository.list_jobs(self._account.user_id, 1000))

    async def submitted(self) -> JobId:
        """The newest job, as soon as there is one."""
        return (await self.until(lambda jobs: jobs[0] if jobs else None, "a job")).id

    async def started(self) -> JobId:
        """The newest job, running."""
        job_id = await self.submitted()
        await self._driver.start(job_id)
        return job_id

    async def until(self, look: Callable[[list[Job]], Found | None], what: str) -> Found:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                found = look(await self.jobs())
                if found is not None:
                    return found
                await asyncio.sleep(_LOOK_SECONDS)
        raise AssertionError(what)

    async def print(self, job_id: JobId, *texts: str, phase: Phase = Phase.TEST) -> None:
        await self._driver.append(job_id, [log_data(phase, text) for text in texts])

    async def complete(
        self,
        job_id: JobId,
        exit_code: int | None = 0,
        outcome: Outcome | None = None,
        reason: Reason | None = None,
    ) -> None:
        outcome = outcome or (Outcome.PASSED if exit_code == 0 else Outcome.FAILED)
        repository, fence = self._driver.repository, self._driver.fence
        await repository.complete(fence, job_id, Verdict(outcome, exit_code, reason))

    async def obey_cancellation(self) -> JobId:
        """Wait until somebody wants the newest job cancelled, and end it."""
        wanted = await self.until(
            lambda jobs: jobs[0] if jobs and jobs[0].cancel_reason is not None else None, "a cancellation"
        )
        if wanted.status is not JobStatus.COMPLETED:
            await self.complete(wanted.id, None, Outcome.CANCELLED, wanted.cancel_reason)
        return wanted.id

    async def archive(self, job_id: JobId) -> zipfile.ZipFile:
        """What was sent."""
        repository = self._driver.repository
        store = DirectoryBundleStore(self._db_path.parent, await repository.instance_id())
        with store.open(job_id) as file:
            return zipfile.ZipFile(io.BytesIO(file.read()))


async def finished(running: Running) -> Finished:
    """Its end, without holding up the event loop."""
    return await asyncio.to_thread(running.finish)
