"""The front door to everything that is stored: `Repository` on one SQLite file.

Many processes may have the same file open. Each method hands one piece of work to a thread that owns
a connection: reads to `Readers`, writes to `Writer`, which commits and then tells whom it concerns.
What the work does stands in the module named for its noun. A caller that is cancelled doesn't undo
what it asked for: it was, or will be, done whole.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from ci_common.bundle_store import BundleStore
from ci_common.errors import StorageFull
from ci_common.event_data import EventData
from ci_common.ids import ContainerId, Fence, InstanceId, JobId, KeyId, UserId, VolumeName
from ci_common.job_times import NO_TIMES, JobTimes
from ci_common.models import (
    APIKey,
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
    StoredKey,
    Submission,
    User,
    Verdict,
)
from ci_common.repository import QueueCounts, QueuePlace, Repository
from ci_persistence import accounts, activation, environments, job_reads, job_writes, leases
from ci_persistence.connections import Work
from ci_persistence.database_file import wal_bytes
from ci_persistence.migrations_runner import create_if_empty
from ci_persistence.readers import Readers
from ci_persistence.transaction import Durability, Transaction, TransactionWork
from ci_persistence.writer import Writer

Result = TypeVar("Result")

WAL_LIMIT_BYTES = 256 << 20
"""Nothing more is accepted while the write-ahead log is larger: nobody moves it into the database."""
BUSY_SECONDS = 60.0
"""How long a write waits for another process's lock."""


class SQLiteJobRepository(Repository):
    """All of the storage. `owns_checkpoints` is for one process of an installation, the controller."""

    def __init__(
        self,
        db_path: Path | str,
        *,
        owns_checkpoints: bool = False,
        wal_limit_bytes: int = WAL_LIMIT_BYTES,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._db_path = Path(db_path)
        self._owns_checkpoints = owns_checkpoints
        self._wal_limit_bytes = wal_limit_bytes
        self._busy_seconds = busy_seconds
        self._parts: tuple[Readers, Writer] | None = None
        self._created = False

    @property
    def created(self) -> bool:
        """Whether `initialize` made the database."""
        return self._created

    async def initialize(self) -> None:
        assert self._parts is None, "a repository is initialized once"
        self._created = (await create_if_empty(self._db_path)).created
        writer = await Writer.open(
            self._db_path, owns_checkpoints=self._owns_checkpoints, busy_seconds=self._busy_seconds
        )
        self._parts = Readers(self._db_path), writer

    async def close(self) -> None:
        if self._parts is not None:
            readers, writer = self._parts
            self._parts = None
            # The writer last: the one that closes last tidies the write-ahead log away.
            await readers.close()
            await writer.close()

    async def _read(self, work: Work[Result]) -> Result:
        assert self._parts is not None, "the repository is not open"
        return await self._parts[0].read(work)

    async def _write(
        self, work: TransactionWork[Result], durability: Durability = Durability.PROCESS
    ) -> Result:
        assert self._parts is not None, "the repository is not open"
        return await self._parts[1].write(work, durability)

    async def _write_log(self, work: TransactionWork[Result]) -> Result:
        assert self._parts is not None, "the repository is not open"
        return await self._parts[1].write_log(work)

    # Users and keys

    async def create_user(self, name: str, email: str) -> User:
        return await self._write(lambda tx: accounts.create_user(tx, name, email), Durability.POWER_LOSS)

    async def get_user(self, user_id: UserId) -> User:
        return await self._read(lambda sql: accounts.get_user(sql, user_id))

    async def get_user_by_email(self, email: str) -> User:
        return await self._read(lambda sql: accounts.get_user_by_email(sql, email))

    async def list_users(self) -> Sequence[User]:
        return await self._read(accounts.list_users)

    async def set_user_active(self, user_id: UserId, is_active: bool) -> User:
        return await self._write(
            lambda tx: activation.set_user_active(tx, user_id, is_active=is_active), Durability.POWER_LOSS
        )

    async def create_key(
        self, user_id: UserId, name: str, prefix: str, digest: bytes, expires_at: datetime | None
    ) -> APIKey:
        return await self._write(
            lambda tx: accounts.create_key(
                tx, user_id, name=name, prefix=prefix, digest=digest, expires_at=expires_at
            ),
            Durability.POWER_LOSS,
        )

    async def list_keys(self, user_id: UserId | None) -> Sequence[StoredKey]:
        return await self._read(lambda sql: accounts.list_keys(sql, user_id))

    async def revoke_key(self, key_id: KeyId) -> APIKey:
        return await self._write(lambda tx: accounts.revoke_key(tx, key_id), Durability.POWER_LOSS)

    async def keys_with_prefix(self, prefix: str) -> Sequence[StoredKey]:
        return await self._read(lambda sql: accounts.keys_with_prefix(sql, prefix))

    async def record_key_use(self, key_ids: Sequence[KeyId], moment: datetime) -> None:
        await self._write(lambda tx: accounts.record_key_use(tx, key_ids, moment))

    # Submissions, looks, cancellations

    async def instance_id(self) -> InstanceId:
        return await self._read(job_reads.instance_id)

    async def submit(
        self, submission: Submission, publish: Callable[[], None], times: JobTimes = NO_TIMES
    ) -> tuple[Job, bool]:
        self._require_room()
        return await self._write(
            lambda tx: job_writes.submit(tx, submission, publish, times), Durability.POWER_LOSS
        )

    async def get_job(self, job_id: JobId) -> Job:
        return await self._read(lambda sql: job_reads.get_job(sql, job_id))

    async def job_times(self, job_id: JobId) -> JobTimes:
        return await self._read(lambda sql: job_reads.job_times(sql, job_id))

    async def find_jobs(self, user_id: UserId | None, prefix: str) -> Sequence[Job]:
        return await self._read(lambda sql: job_reads.find_jobs(sql, user_id, prefix))

    async def list_jobs(
        self,
        user_id: UserId | None,
        limit: int,
        before: JobId | None = None,
        status: JobStatus | None = None,
    ) -> Sequence[Job]:
        return await self._read(lambda sql: job_reads.list_jobs(sql, user_id, limit, before, status))

    async def events_after(self, job_id: JobId, after: int, limit_bytes: int = 1 << 20) -> Sequence[JobEvent]:
        return await self._read(lambda sql: job_reads.events_after(sql, job_id, after, limit_bytes))

    async def last_seqs(self, job_ids: Sequence[JobId]) -> Mapping[JobId, int]:
        return await self._read(lambda sql: job_reads.last_seqs(sql, job_ids))

    async def request_cancel(self, job_id: JobId, reason: Reason) -> Job:
        return await self._write(
            lambda tx: job_writes.request_cancel(tx, job_id, reason), Durability.POWER_LOSS
        )

    async def queue_places(self, job_ids: Sequence[JobId]) -> Mapping[JobId, QueuePlace]:
        return await self._read(lambda sql: job_reads.queue_places(sql, job_ids))

    async def queue_counts(self) -> QueueCounts:
        return await self._read(job_reads.queue_counts)

    async def unfinished_bundle_bytes(self, user_id: UserId) -> int:
        return await self._read(lambda sql: job_reads.unfinished_bundle_bytes(sql, user_id))

    async def lease(self) -> Lease | None:
        return await self._read(leases.present)

    # The leading controller

    async def take_lease(self, holder: LeaseHolder, after: Fence | None) -> Lease:
        return await self._write(lambda tx: leases.take(tx, holder, after))

    async def beat(self, fence: Fence, state: ControllerState, detail: str) -> None:
        await self._write(_fenced(fence, lambda tx: leases.beat(tx, state, detail)))

    async def leave_lease(self, fence: Fence) -> None:
        await self._write(_fenced(fence, leases.leave))

    async def running_jobs(self) -> Sequence[Job]:
        return await self._read(lambda sql: job_reads.jobs_in_status(sql, JobStatus.RUNNING))

    async def queued_jobs(self, limit: int) -> Sequence[Job]:
        return await self._read(lambda sql: job_reads.jobs_in_status(sql, JobStatus.QUEUED, limit))

    async def jobs_by_id(self, job_ids: Sequence[JobId]) -> Mapping[JobId, Job]:
        return await self._read(lambda sql: job_reads.jobs_by_id(sql, job_ids))

    async def bind_run(self, fence: Fence, job_id: JobId, run: Run, times: JobTimes = NO_TIMES) -> Job | None:
        return await self._write(_fenced(fence, lambda tx: job_writes.bind_run(tx, job_id, run, times)))

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
        def work(tx: Transaction) -> Job | None:
            return job_writes.append(
                tx,
                job_id,
                container_id,
                events,
                position,
                fed=fed,
                verdict=verdict,
                environment=environment,
                times=times,
            )

        return await self._write_log(_fenced(fence, work))

    async def requeue(
        self,
        fence: Fence,
        job_id: JobId,
        container_id: ContainerId | None,
        notice: str | None,
        *,
        uses_attempt: bool,
    ) -> Job | None:
        def work(tx: Transaction) -> Job | None:
            return job_writes.requeue(tx, job_id, container_id, notice, uses_attempt=uses_attempt)

        return await self._write(_fenced(fence, work))

    async def complete(
        self, fence: Fence, job_id: JobId, verdict: Verdict, events: Sequence[EventData] = ()
    ) -> Job:
        return await self._write(_fenced(fence, lambda tx: job_writes.complete(tx, job_id, verdict, events)))

    async def add_events(self, fence: Fence, job_id: JobId, events: Sequence[EventData]) -> Job:
        return await self._write(_fenced(fence, lambda tx: job_writes.add_events(tx, job_id, events)))

    async def set_waiting(self, fence: Fence, job_id: JobId, waiting: str | None) -> None:
        await self._write(_fenced(fence, lambda tx: job_writes.set_waiting(tx, job_id, waiting)))

    async def environment(self, key: str) -> Environment | None:
        return await self._read(lambda sql: environments.find(sql, key))

    async def list_environments(self) -> Sequence[Environment]:
        return await self._read(environments.list_all)

    async def use_environment(self, fence: Fence, volume: VolumeName, moment: datetime) -> None:
        await self._write(_fenced(fence, lambda tx: environments.record_use(tx.sql, volume, moment)))

    async def forget_environment(self, fence: Fence, volume: VolumeName) -> None:
        await self._write(_fenced(fence, lambda tx: environments.forget(tx.sql, volume)))

    async def sweep_bundles(self, bundles: BundleStore) -> int:
        return await self._write(lambda tx: job_writes.sweep_bundles(tx, bundles))

    def _require_room(self) -> None:
        log_bytes = wal_bytes(self._db_path)
        if log_bytes > self._wal_limit_bytes:
            raise StorageFull(
                f"the write-ahead log of {self._db_path} has grown to {log_bytes} bytes: ci-controller "
                "must run, which moves it into the database"
            )


def _fenced(fence: Fence, work: TransactionWork[Result]) -> TransactionWork[Result]:
    """`work` of the leader: refused in the same transaction once another leads."""

    def fenced_work(tx: Transaction) -> Result:
        leases.require(tx.sql, fence)
        return work(tx)

    return fenced_work
