"""A queued job in a repository in memory, and all that its streams need."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ci_common.api_keys import new_key
from ci_common.errors import StorageBusy
from ci_common.event_data import EventData, notice_data
from ci_common.ids import Fence, JobId, new_job_id
from ci_common.models import Job, JobEvent, LeaseHolder, Outcome, Submission, SubmitOptions, Verdict
from ci_common.repository import QueuePlace
from ci_server.auth import Authenticator, Credential
from ci_server.event_reader import EventReader
from ci_server.queue_looks import QueueLooks
from ci_server.stream_hub import StreamHub
from ci_server.streaming import JobStream, StreamSources
from ci_server.waiting import ControllerWatch
from tests.fakes.memory_repository import MemoryRepository

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Counting(MemoryRepository):
    """Counts readings of events, and holds them up when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.readings = 0
        self.queue_readings = 0
        self.begun = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.gate.set()
        self.is_busy = False

    async def events_after(self, job_id: JobId, after: int, limit_bytes: int = 1 << 20) -> Sequence[JobEvent]:
        self.readings += 1
        self.begun.release()
        if self.is_busy:
            raise StorageBusy("locked")
        events = await super().events_after(job_id, after, limit_bytes)
        await self.gate.wait()
        return events

    async def queue_places(self, job_ids: Sequence[JobId]) -> Mapping[JobId, QueuePlace]:
        self.queue_readings += 1
        return await super().queue_places(job_ids)


@dataclass
class Scene:
    """A queued job, its owner's credential, and all that its streams need."""

    repository: Counting
    credential: Credential
    job: Job
    hub: StreamHub
    sources: StreamSources
    fence: Fence

    async def add(self, *texts: str) -> None:
        await self.repository.add_events(self.fence, self.job.id, [notice_data(text) for text in texts])

    async def complete(self, *events: EventData) -> None:
        await self.repository.complete(self.fence, self.job.id, Verdict(Outcome.CANCELLED), events)

    async def stream(self, position: int = 0) -> JobStream:
        job = await self.repository.get_job(self.job.id)
        return JobStream(self.sources, job, position, self.credential)


async def scene() -> Scene:
    repository = Counting()
    key = new_key()
    user = await repository.create_user("ann", "ann@example.org")
    stored = await repository.create_key(user.id, "k", key.prefix, key.digest, None)
    submission = Submission(new_job_id(), user.id, stored.id, SubmitOptions(), 1, NOON)
    job, _ = await repository.submit(submission, lambda: None)
    lease = await repository.take_lease(LeaseHolder(1, 1, "b"), None)
    authenticator = Authenticator(repository, lambda _: None)
    reader = EventReader(repository)
    hub = StreamHub(authenticator, repository, reader)
    sources = StreamSources(hub, reader, QueueLooks(repository), ControllerWatch(repository))
    return Scene(repository, Credential(key.prefix, key.digest), job, hub, sources, lease.fence)


@dataclass(frozen=True)
class FakeWake:
    job_ids: Collection[JobId] = ()
    everything: bool = False


class FakeChanges:
    """Brings the wakes that a test puts in."""

    def __init__(self) -> None:
        self.wakes: asyncio.Queue[FakeWake] = asyncio.Queue()

    async def wait(self, timeout_seconds: float) -> FakeWake:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self.wakes.get()
        except TimeoutError:
            return FakeWake()
