"""`Repository` in memory, for tests of rooms that only need something that keeps the contract.

The rules of a job's life come from `ci_persistence.transitions`, as everywhere; what is kept is a few
dictionaries. `tests/contract` runs against it as against SQLite. It has one process and no waiters, so
nothing is announced.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ci_common.bundle_store import BundleStore
from ci_common.clock import utc_now
from ci_common.errors import AlreadyExists, FenceLost, NotFound
from ci_common.event_data import EventData
from ci_common.ids import ContainerId, Fence, InstanceId, JobId, UserId, VolumeName
from ci_common.job_times import NO_TIMES, JobTimes
from ci_common.models import (
    ControllerState,
    Environment,
    Job,
    JobEvent,
    JobStatus,
    Lease,
    LeaseHolder,
    LogPosition,
    Reason,
    Run,
    Submission,
    User,
    Verdict,
)
from ci_common.repository import QueueCounts, QueuePlace, Repository
from ci_persistence import transitions
from ci_persistence.transitions import Change
from tests.fakes.memory_accounts import MemoryAccounts


class MemoryRepository(MemoryAccounts, Repository):
    """Gone with its process."""

    def __init__(self) -> None:
        super().__init__()
        self._instance_id = InstanceId(str(uuid.uuid4()))
        self._jobs: dict[JobId, Job] = {}
        """In the order of submission."""
        self._events: dict[JobId, list[JobEvent]] = {}
        self._times: dict[JobId, JobTimes] = {}
        self._environments: dict[str, Environment] = {}
        self._lease: Lease | None = None

    async def initialize(self) -> None:
        """Nothing is opened."""

    async def close(self) -> None:
        """Nothing is released."""

    async def instance_id(self) -> InstanceId:
        return self._instance_id

    async def set_user_active(self, user_id: UserId, is_active: bool) -> User:
        user = self.mark_user(user_id, is_active=is_active)
        if not is_active:
            for job in list(self._jobs.values()):
                if job.user_id == user_id:
                    await self.request_cancel(job.id, Reason.USER_DEACTIVATED)
        return user

    async def submit(
        self, submission: Submission, publish: Callable[[], None], times: JobTimes = NO_TIMES
    ) -> tuple[Job, bool]:
        self.require_good_key(submission.key_id, submission.user_id)
        existing = self._jobs.get(submission.job_id)
        if existing is not None:
            if existing.user_id != submission.user_id:
                raise AlreadyExists(f"the job id {submission.job_id} is taken")
            return existing, False
        publish()
        job = transitions.queued(submission)
        self._jobs[job.id] = job
        self._events[job.id] = []
        self._times[job.id] = transitions.times_stored(times, utc_now())
        return job, True

    async def get_job(self, job_id: JobId) -> Job:
        if job_id not in self._jobs:
            raise NotFound(f"no job has the id {job_id}")
        return self._jobs[job_id]

    async def job_times(self, job_id: JobId) -> JobTimes:
        job = self._jobs.get(job_id)
        return NO_TIMES if job is None else transitions.times_shown(job, self._times[job_id])

    async def find_jobs(self, user_id: UserId | None, prefix: str) -> Sequence[Job]:
        found = [job for job in self._of(user_id) if job.id.startswith(prefix)]
        return sorted(found, key=lambda job: job.id)[:2]

    async def list_jobs(
        self,
        user_id: UserId | None,
        limit: int,
        before: JobId | None = None,
        status: JobStatus | None = None,
    ) -> Sequence[Job]:
        jobs = self._of(user_id)
        if before is not None:
            ids = [job.id for job in jobs]
            if before not in ids:
                raise NotFound(f"no job has the id {before}")
            jobs = jobs[: ids.index(before)]
        return [job for job in reversed(jobs) if status in {None, job.status}][:limit]

    async def events_after(self, job_id: JobId, after: int, limit_bytes: int = 1 << 20) -> Sequence[JobEvent]:
        chosen: list[JobEvent] = []
        total_bytes = 0
        for event in self._events.get(job_id, [])[after:]:
            chosen.append(event)
            total_bytes += len(event.json)
            if total_bytes >= limit_bytes:
                break
        return chosen

    async def last_seqs(self, job_ids: Sequence[JobId]) -> Mapping[JobId, int]:
        return {job_id: self._jobs[job_id].last_seq for job_id in job_ids if job_id in self._jobs}

    async def request_cancel(self, job_id: JobId, reason: Reason) -> Job:
        job = await self.get_job(job_id)
        return self._store(transitions.request_cancel(job, reason, utc_now()))

    async def queue_places(self, job_ids: Sequence[JobId]) -> Mapping[JobId, QueuePlace]:
        queue = enumerate(self._in(JobStatus.QUEUED), start=1)
        return {job.id: QueuePlace(place, job.waiting) for place, job in queue if job.id in set(job_ids)}

    async def queue_counts(self) -> QueueCounts:
        return QueueCounts(queued=len(self._in(JobStatus.QUEUED)), running=len(self._in(JobStatus.RUNNING)))

    async def unfinished_bundle_bytes(self, user_id: UserId) -> int:
        unfinished = [*self._in(JobStatus.QUEUED), *self._in(JobStatus.RUNNING)]
        return sum(job.bundle_bytes for job in unfinished if job.user_id == user_id)

    async def lease(self) -> Lease | None:
        return self._lease

    async def take_lease(self, holder: LeaseHolder, after: Fence | None) -> Lease:
        if (None if self._lease is None else self._lease.fence) != after:
            raise FenceLost("another controller was quicker")
        self._lease = Lease(
            fence=Fence((after or 0) + 1),
            holder=holder,
            beat=0,
            beat_time=utc_now(),
            state=ControllerState.STARTING,
            detail="",
        )
        return self._lease

    async def beat(self, fence: Fence, state: ControllerState, detail: str) -> None:
        lease = self._leading(fence)
        self._lease = replace(lease, beat=lease.beat + 1, beat_time=utc_now(), state=state, detail=detail)

    async def leave_lease(self, fence: Fence) -> None:
        lease = self._leading(fence)
        self._lease = replace(
            lease, holder=None, beat_time=utc_now(), state=ControllerState.STOPPED, detail=""
        )

    async def running_jobs(self) -> Sequence[Job]:
        return self._in(JobStatus.RUNNING)

    async def queued_jobs(self, limit: int) -> Sequence[Job]:
        return self._in(JobStatus.QUEUED)[:limit]

    async def jobs_by_id(self, job_ids: Sequence[JobId]) -> Mapping[JobId, Job]:
        return {job_id: self._jobs[job_id] for job_id in job_ids if job_id in self._jobs}

    async def bind_run(self, fence: Fence, job_id: JobId, run: Run, times: JobTimes = NO_TIMES) -> Job | None:
        self._leading(fence)
        return self._change(job_id, lambda job: transitions.bind(job, run, utc_now()), times)

    async def append(
        self,
        fence: Fence,
        job_id: JobId,
        container_id: ContainerId,
        events: Sequence[EventData],
        position: LogPosition,
        *,
        fed: bool = False,
        verdict: Verdict | None = None,
        environment: Environment | None = None,
        times: JobTimes = NO_TIMES,
    ) -> Job | None:
        self._leading(fence)
        installed = None if environment is None else environment.volume
        changed = self._change(
            job_id,
            lambda job: transitions.append(
                job,
                container_id,
                events,
                position,
                fed=fed,
                verdict=verdict,
                installed=installed,
                now=utc_now(),
            ),
            times,
        )
        if changed is not None and environment is not None:
            self._environments[environment.key] = environment
        return changed

    async def requeue(
        self,
        fence: Fence,
        job_id: JobId,
        container_id: ContainerId | None,
        notice: str | None,
        *,
        uses_attempt: bool,
    ) -> Job | None:
        self._leading(fence)
        return self._change(
            job_id,
            lambda job: transitions.requeue(
                job, container_id, notice, uses_attempt=uses_attempt, now=utc_now()
            ),
        )

    async def complete(
        self, fence: Fence, job_id: JobId, verdict: Verdict, events: Sequence[EventData] = ()
    ) -> Job:
        self._leading(fence)
        return self._store(transitions.complete(await self.get_job(job_id), verdict, events, utc_now()))

    async def add_events(self, fence: Fence, job_id: JobId, events: Sequence[EventData]) -> Job:
        self._leading(fence)
        return self._store(transitions.add_events(await self.get_job(job_id), events))

    async def set_waiting(self, fence: Fence, job_id: JobId, waiting: str | None) -> None:
        self._leading(fence)
        self._store(transitions.set_waiting(await self.get_job(job_id), waiting))

    async def environment(self, key: str) -> Environment | None:
        return self._environments.get(key)

    async def list_environments(self) -> Sequence[Environment]:
        return sorted(self._environments.values(), key=lambda entry: (entry.created_at, entry.key))

    async def use_environment(self, fence: Fence, volume: VolumeName, moment: datetime) -> None:
        self._leading(fence)
        for entry in list(self._environments.values()):
            if entry.volume == volume:
                self._environments[entry.key] = replace(entry, last_used_at=moment)

    async def forget_environment(self, fence: Fence, volume: VolumeName) -> None:
        self._leading(fence)
        for entry in list(self._environments.values()):
            if entry.volume == volume:
                del self._environments[entry.key]

    async def sweep_bundles(self, bundles: BundleStore) -> int:
        unfinished = {*self._ids_in(JobStatus.QUEUED), *self._ids_in(JobStatus.RUNNING)}
        unwanted = [job_id for job_id in bundles.job_ids() if job_id not in unfinished]
        for job_id in unwanted:
            bundles.delete(job_id)
        return len(unwanted)

    def _of(self, user_id: UserId | None) -> list[Job]:
        return [job for job in self._jobs.values() if user_id in {None, job.user_id}]

    def _in(self, status: JobStatus) -> list[Job]:
        return [job for job in self._jobs.values() if job.status is status]

    def _ids_in(self, status: JobStatus) -> list[JobId]:
        return [job.id for job in self._in(status)]

    def _leading(self, fence: Fence) -> Lease:
        if self._lease is None or self._lease.fence != fence or self._lease.holder is None:
            raise FenceLost(f"leadership {fence} is over")
        return self._lease

    def _change(
        self, job_id: JobId, decide: Callable[[Job], Change | None], times: JobTimes = NO_TIMES
    ) -> Job | None:
        job = self._jobs.get(job_id)
        change = None if job is None else decide(job)
        if job is None or change is None:
            return None
        if times.moments:
            self._times[job_id] = transitions.times_with(job, self._times[job_id], times)
        return self._store(change)

    def _store(self, change: Change) -> Job:
        self._jobs[change.job.id] = change.job
        self._events[change.job.id].extend(change.events)
        return change.job
