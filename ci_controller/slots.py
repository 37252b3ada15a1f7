"""Places for jobs that run at once, and the numbers from which the uids of their processes follow.

Two containers never have a uid in common at the same time: one could use up the other's share of what the
kernel counts by user. A container that is started ahead of its job has its number before it has a job, and
holds no place. Only the event loop's thread touches this.
"""

from ci_common.ids import JobId

FIRST_UID = 20_000


def uid_of(slot: int) -> int:
    """User (and group) of the processes of the container that has the number `slot`."""
    return FIRST_UID + slot


class Slots:
    """Who holds which place and number."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        """How many jobs may run at once."""
        self._held: dict[JobId, int] = {}
        self._reserved: set[int] = set()

    @property
    def free(self) -> int:
        """How many more jobs may start now."""
        return max(0, self.capacity - len(self._held))

    def of(self, job_id: JobId) -> int | None:
        """The number of the job that holds a place."""
        return self._held.get(job_id)

    def take(self, job_id: JobId) -> bool:
        """Give the job a place where one is free; True where it holds one afterwards."""
        if job_id not in self._held:
            if not self.free:
                return False
            self._held[job_id] = self._unused()
        return True

    def adopt(self, job_id: JobId, slot: int | None) -> None:
        """Account for a job that runs already, in `slot` where its container tells it.

        Jobs of an earlier controller may be more than the capacity: they keep running.
        """
        if job_id not in self._held:
            self._held[job_id] = self._unused() if slot is None or slot in self._used() else slot

    def give_back(self, job_id: JobId) -> None:
        """The job needs its place no more; one that holds none is no error."""
        self._held.pop(job_id, None)

    def reserve(self) -> int:
        """A number for a container that is started ahead."""
        number = self._unused()
        self._reserved.add(number)
        return number

    def release(self, number: int) -> None:
        """The container that was started ahead with this number is gone."""
        self._reserved.discard(number)

    def hand_over(self, number: int, job_id: JobId) -> None:
        """The job, which holds a place, goes on in the container with this reserved number."""
        assert job_id in self._held, "a job that starts holds a place"
        assert number in self._reserved, "numbers of containers that wait are reserved"
        self._reserved.discard(number)
        self._held[job_id] = number

    def _used(self) -> set[int]:
        return {*self._held.values(), *self._reserved}

    def _unused(self) -> int:
        used = self._used()
        return next(number for number in range(len(used) + 1) if number not in used)
