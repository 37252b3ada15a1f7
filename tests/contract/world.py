"""A repository with a user, a key and a leader in it, and short words for what tests ask of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_common.clock import utc_now
from ci_common.event_data import EventData, log_data
from ci_common.ids import ContainerId, Fence, JobId, KeyId, UserId, VolumeName, new_job_id
from ci_common.models import (
    Environment,
    Job,
    JobEvent,
    LeaseHolder,
    LogPosition,
    Phase,
    Run,
    Stage,
    Submission,
    SubmitOptions,
)
from ci_common.repository import Repository
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.fakes.memory_repository import MemoryRepository

HOLDER = LeaseHolder(pid=1, start_ticks=2, boot_id="boot")
IMPLEMENTATIONS = ["memory", "sqlite"]


def make_repository(implementation: str, folder: Path) -> Repository:
    """A new one of the named kind."""
    if implementation == "memory":
        return MemoryRepository()
    return SQLiteJobRepository(folder / "ci.db", owns_checkpoints=True)


def nothing() -> None:
    """A `publish` for jobs whose files don't matter."""


def line(text: str, phase: Phase = Phase.TEST) -> EventData:
    return log_data(phase, text)


def a_run(
    container: str, fence: Fence, stage: Stage = Stage.TEST, environment: VolumeName | None = None
) -> Run:
    return Run(stage=stage, container_id=ContainerId(container), fence=fence, environment=environment)


def an_environment(user_id: UserId, key: str = "k" * 64, volume: str = "volume") -> Environment:
    now = utc_now()
    return Environment(key=key, user_id=user_id, volume=VolumeName(volume), created_at=now, last_used_at=now)


@dataclass(frozen=True, slots=True)
class World:
    """One installation with the first user's key and a leader."""

    repository: Repository
    user_id: UserId
    key_id: KeyId
    fence: Fence

    @classmethod
    async def create(cls, repository: Repository) -> "World":
        user = await repository.create_user("Ada", "ada@example.org")
        key = await repository.create_key(user.id, "laptop", "abcdefgh", b"\x01" * 32, None)
        lease = await repository.take_lease(HOLDER, None)
        return cls(repository, user.id, key.id, lease.fence)

    def submission(self, job_id: JobId | None = None, options: SubmitOptions | None = None) -> Submission:
        return Submission(
            job_id=job_id or new_job_id(),
            user_id=self.user_id,
            key_id=self.key_id,
            options=options or SubmitOptions(),
            bundle_bytes=1234,
            submit_time=utc_now(),
        )

    async def queued(self) -> Job:
        job, made = await self.repository.submit(self.submission(), nothing)
        assert made
        return job

    async def running(self, container: str = "c1", stage: Stage = Stage.TEST) -> Job:
        job = await self.queued()
        bound = await self.repository.bind_run(self.fence, job.id, a_run(container, self.fence, stage))
        assert bound is not None
        return bound

    async def append(
        self, job_id: JobId, events: Sequence[EventData], offset_bytes: int, container: str = "c1"
    ) -> Job | None:
        position = LogPosition(offset_bytes=offset_bytes)
        return await self.repository.append(self.fence, job_id, ContainerId(container), events, position)

    async def told(self, job_id: JobId) -> list[EventData]:
        """What all events of a job say, after a check of their numbers and form."""
        events: list[JobEvent] = []
        while page := await self.repository.events_after(job_id, len(events)):
            events.extend(page)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert (await self.repository.get_job(job_id)).last_seq == len(events)
        told: list[EventData] = [json.loads(event.json) for event in events]
        for event, data in zip(events, told, strict=True):
            assert event.json.isascii()
            assert "\n" not in event.json
            assert data["type"] == event.type
        return told

    async def told_types(self, job_id: JobId) -> list[object]:
        return [data["type"] for data in await self.told(job_id)]


async def another_user(world: World, email: str = "bob@example.org") -> World:
    """The same installation seen by another user."""
    user = await world.repository.create_user("Bob", email)
    key = await world.repository.create_key(user.id, "desk", "bobsbobs", b"\x02" * 32, None)
    return World(world.repository, user.id, key.id, world.fence)
