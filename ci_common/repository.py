"""What the platform stores, as an interface; `ci_persistence` implements it, one contract tests it.

Three kinds of caller, three parts: `AccountRepository` (users and keys), `JobRepository` (the server:
submit, look, cancel) and `ControllerRepository` (the one leader: every write bears its fence and is
refused once another leads). `Repository` is all of it.

Every method is one transaction. Methods that change a job return it as it is afterwards. Waiting
listeners (`ci_persistence.change_feed`) are woken after the commit, by the implementation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ci_common.bundle_store import BundleStore
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


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How much there is to do at present."""

    queued: int
    running: int


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """Where a queued job stands."""

    place: int
    """1 for the one that is next."""
    waiting: str | None
    """As in `Job.waiting`."""


class AccountRepository(ABC):
    """Users and their keys."""

    @abstractmethod
    async def create_user(self, name: str, email: str) -> User:
        """A new active user; e-mails are compared without regard to case.

        Raises:
            AlreadyExists: the e-mail belongs to a user.
        """

    @abstractmethod
    async def get_user(self, user_id: UserId) -> User:
        """Raises NotFound where there is no such user."""

    @abstractmethod
    async def get_user_by_email(self, email: str) -> User:
        """Raises NotFound where there is no such user."""

    @abstractmethod
    async def list_users(self) -> Sequence[User]:
        """All users, oldest first."""

    @abstractmethod
    async def set_user_active(self, user_id: UserId, is_active: bool) -> User:
        """Deactivating also asks for the cancellation of all the user's unfinished jobs.

        Raises:
            NotFound: no such user.
        """

    @abstractmethod
    async def create_key(
        self, user_id: UserId, name: str, prefix: str, digest: bytes, expires_at: datetime | None
    ) -> APIKey:
        """Store a key by its SHA-256.

        Raises:
            NotFound: no such user.
        """

    @abstractmethod
    async def list_keys(self, user_id: UserId | None) -> Sequence[StoredKey]:
        """A user's keys, or everybody's, oldest first, revoked ones included."""

    @abstractmethod
    async def revoke_key(self, key_id: KeyId) -> APIKey:
        """The key is refused from now on; revoking twice is no error. Survives power loss.

        Raises:
            NotFound: no such key.
        """

    @abstractmethod
    async def keys_with_prefix(self, prefix: str) -> Sequence[StoredKey]:
        """Candidates for authentication, whatever their state: the caller compares and judges."""

    @abstractmethod
    async def record_key_use(self, key_ids: Sequence[KeyId], moment: datetime) -> None:
        """Set `last_used_at` of these keys."""


class JobRepository(AccountRepository):
    """What a server replica needs: submissions, looks, cancellations."""

    @abstractmethod
    async def instance_id(self) -> InstanceId:
        """The random id of this installation, made with the database."""

    @abstractmethod
    async def submit(
        self, submission: Submission, publish: Callable[[], None], times: JobTimes = NO_TIMES
    ) -> tuple[Job, bool]:
        """Make a queued job; True beside it when this call made it. `times` are kept with a new one.

        In one transaction, durable against power loss: check the key and its user again, call
        `publish` (which gives the bundle its name), insert the job. Where `publish` raises, nothing
        is stored. A job of this id and user that exists is returned with False, `publish` uncalled.

        Raises:
            NotPermitted: key or user are no longer good.
            AlreadyExists: the id belongs to another user's job.
        """

    @abstractmethod
    async def get_job(self, job_id: JobId) -> Job:
        """Raises NotFound where there is no such job."""

    @abstractmethod
    async def job_times(self, job_id: JobId) -> JobTimes:
        """When each phase of the job's last attempt began and ended, as far as that is known; of a
        completed job COMPLETED is its `end_time`. Nothing of a job that doesn't exist."""

    @abstractmethod
    async def find_jobs(self, user_id: UserId | None, prefix: str) -> Sequence[Job]:
        """At most two jobs whose ids begin with `prefix`: of this user, or anybody's."""

    @abstractmethod
    async def list_jobs(
        self,
        user_id: UserId | None,
        limit: int,
        before: JobId | None = None,
        status: JobStatus | None = None,
    ) -> Sequence[Job]:
        """Newest first, of one user or of all; `before` continues behind a job of an earlier page.

        Raises:
            NotFound: `before` names no job of this user.
        """

    @abstractmethod
    async def events_after(self, job_id: JobId, after: int, limit_bytes: int = 1 << 20) -> Sequence[JobEvent]:
        """The next events behind number `after`, in order, until their JSON comes to `limit_bytes`: less
        than that means that there were no more. Empty for a job that doesn't exist."""

    @abstractmethod
    async def last_seqs(self, job_ids: Sequence[JobId]) -> Mapping[JobId, int]:
        """Newest event number of each of these jobs; unknown ones are left out."""

    @abstractmethod
    async def request_cancel(self, job_id: JobId, reason: Reason) -> Job:
        """Ask for cancellation: at once `completed` where no container was ever started for the
        present attempt (status queued), else by the controller. A completed job stays as it is.
        Survives power loss.

        Raises:
            NotFound: no such job.
        """

    @abstractmethod
    async def queue_places(self, job_ids: Sequence[JobId]) -> Mapping[JobId, QueuePlace]:
        """Of those of these jobs that are queued. The queue is read once, however many are asked for."""

    @abstractmethod
    async def queue_counts(self) -> QueueCounts:
        """How many jobs are queued and running."""

    @abstractmethod
    async def unfinished_bundle_bytes(self, user_id: UserId) -> int:
        """What the bundles of this user's queued and running jobs hold together."""

    @abstractmethod
    async def lease(self) -> Lease | None:
        """The present leadership; None before the first."""


class ControllerRepository(JobRepository):
    """What the leader writes. Each call raises FenceLost, having changed nothing, once `fence` is
    not the present leadership's."""

    @abstractmethod
    async def take_lease(self, holder: LeaseHolder, after: Fence | None) -> Lease:
        """Begin a leadership, numbered one past `after`.

        Raises:
            FenceLost: the present leadership is not `after`; somebody else was quicker.
        """

    @abstractmethod
    async def beat(self, fence: Fence, state: ControllerState, detail: str) -> None:
        """Show that the leader lives, and what it is busy with."""

    @abstractmethod
    async def leave_lease(self, fence: Fence) -> None:
        """End the leadership of one's own accord: a standby need not wait."""

    @abstractmethod
    async def running_jobs(self) -> Sequence[Job]:
        """All jobs in status running, oldest first."""

    @abstractmethod
    async def queued_jobs(self, limit: int) -> Sequence[Job]:
        """The first `limit` jobs in status queued, oldest first."""

    @abstractmethod
    async def jobs_by_id(self, job_ids: Sequence[JobId]) -> Mapping[JobId, Job]:
        """These jobs; unknown ids are left out."""

    @abstractmethod
    async def bind_run(self, fence: Fence, job_id: JobId, run: Run, times: JobTimes = NO_TIMES) -> Job | None:
        """The container of `run` works on the job from now on. A queued job becomes running, with
        its `status` event. None, and no change, where the job doesn't want it any more: completed,
        to be cancelled, or bound to another container. `times` are kept with the job; what is known
        of an earlier attempt is forgotten."""

    @abstractmethod
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
        """Store what a container's log has brought, with the position behind it, in one transaction.

        `fed` records that the files have arrived. `verdict` completes the job as its last act.
        `environment` ends stage INSTALL: the entry is ready for later jobs (replacing an older one
        of its key), and the job goes on without a container. `times` are kept beside those that are
        known already. None, and no change, where the job is not bound to `container_id`.
        """

    @abstractmethod
    async def requeue(
        self,
        fence: Fence,
        job_id: JobId,
        container_id: ContainerId | None,
        notice: str | None,
        *,
        uses_attempt: bool,
    ) -> Job | None:
        """Its container is lost: running → queued for a new one. None, and no change, where the job
        is not bound to `container_id`. A job that is to be cancelled is completed instead."""

    @abstractmethod
    async def complete(
        self, fence: Fence, job_id: JobId, verdict: Verdict, events: Sequence[EventData] = ()
    ) -> Job:
        """End a job, `events` before its last one; a completed one stays as it is."""

    @abstractmethod
    async def add_events(self, fence: Fence, job_id: JobId, events: Sequence[EventData]) -> Job:
        """Append notices that don't come from the container; nothing on a completed job."""

    @abstractmethod
    async def set_waiting(self, fence: Fence, job_id: JobId, waiting: str | None) -> None:
        """Tell why a queued job isn't started yet; no-op when nothing changes."""

    @abstractmethod
    async def environment(self, key: str) -> Environment | None:
        """The cache entry of this key."""

    @abstractmethod
    async def list_environments(self) -> Sequence[Environment]:
        """All cache entries."""

    @abstractmethod
    async def use_environment(self, fence: Fence, volume: VolumeName, moment: datetime) -> None:
        """Set `last_used_at`."""

    @abstractmethod
    async def forget_environment(self, fence: Fence, volume: VolumeName) -> None:
        """Take the entry out; its volume may be removed once this is committed."""

    @abstractmethod
    async def sweep_bundles(self, bundles: BundleStore) -> int:
        """Delete the bundles of completed and unknown jobs; their number. Holds the write lock
        meanwhile, so that no submission can be half-way through."""


class Repository(ControllerRepository):
    """All of it, and its life."""

    @abstractmethod
    async def initialize(self) -> None:
        """Open; creates the schema in an empty file and never changes one that exists.

        Raises:
            SchemaMismatch: the file is older, newer or foreign; it was not touched.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release everything; calling it twice is no error."""
