"""Which of the queued jobs may start: places in the order of submission, one installer an environment.

All of it is one leadership's memory, touched by the event loop's thread alone, and found again after a
crash: places from the labels of running containers, installations from the names of their volumes.
"""

import asyncio

from ci_common.ids import JobId
from ci_common.repository import ControllerRepository
from ci_controller.container_manager import ContainerManager
from ci_controller.readiness import EngineReadiness
from ci_controller.slots import Slots
from ci_controller.stopwatches import Stopwatches
from ci_controller.work_queue import WorkQueue


class Admission:
    """Gives places to queued jobs, and turns to those that got one."""

    def __init__(
        self,
        repository: ControllerRepository,
        manager: ContainerManager,
        readiness: EngineReadiness,
        queue: WorkQueue,
        slots: Slots,
        watches: Stopwatches,
        news: asyncio.Event,
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._readiness = readiness
        self._queue = queue
        self._watches = watches
        self._news = news
        self._installing: dict[str, JobId] = {}
        self._parked: dict[JobId, str] = {}
        self.slots = slots
        self.is_open = False
        """The places of the jobs that this leadership found running are accounted for."""

    def admit_soon(self) -> None:
        """Queued jobs may have come, or places may be free."""
        self._news.set()

    async def keep_admitting(self) -> None:
        """Give free places to queued jobs in the order of their submission, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            await self._admit()

    async def _admit(self) -> None:
        if self._readiness.now.obstacle is not None or (self.is_open and not self.slots.free):
            return
        if not self.is_open:
            await self._adopt_running()
        for job in await self._repository.queued_jobs(len(self._parked) + 2 * self.slots.capacity):
            if job.id in self._parked or self.slots.of(job.id) is not None:
                continue
            if not self.slots.take(job.id):
                return
            self._watches.begin(job.id)
            self._queue.add(job.id)

    async def _adopt_running(self) -> None:
        """Jobs of an earlier leader keep their places, and their users' ids, before any is given away."""
        running = await self._repository.running_jobs()
        slots = {view.id: view.slot for view in await self._manager.list()}
        for job in running:
            if job.run is not None and job.run.container_id in slots:
                self.slots.adopt(job.id, slots[job.run.container_id])
        for job in running:
            self.slots.adopt(job.id, None)
            self._queue.add(job.id)  # one that has ended meanwhile gives its place back
        self.is_open = True

    def release(self, job_id: JobId) -> None:
        """The job needs its place no more."""
        self.slots.give_back(job_id)
        self._watches.forget(job_id)
        self._parked.pop(job_id, None)
        self.end_install(job_id)
        self.admit_soon()

    def park(self, job_id: JobId, key: str) -> None:
        """The job waits, without a place, until the installation of `key` has ended."""
        self._parked[job_id] = key
        self.slots.give_back(job_id)
        self.admit_soon()

    def installer_of(self, key: str) -> JobId | None:
        """The job that fills this environment at present."""
        return self._installing.get(key)

    def begin_install(self, key: str, job_id: JobId) -> None:
        """The job fills this environment from now on, unless another does already."""
        self._installing.setdefault(key, job_id)

    def end_install(self, job_id: JobId) -> None:
        """What the job has installed is there, or won't be: those who waited for it may go on."""
        for key in [key for key, installer in self._installing.items() if installer == job_id]:
            del self._installing[key]
            for waiting in [job for job, wanted in self._parked.items() if wanted == key]:
                del self._parked[waiting]
        self.admit_soon()
