"""Places for jobs that run at once; each has a number, from which the uid of its processes follows.

Two jobs never share a uid at the same time: one could use up the other's share of what the kernel
counts by user. Only the event loop's thread touches this.
"""

from ci_common.ids import JobId

FIRST_UID = 20_000


def uid_of(slot: int) -> int:
    """User (and group) of the processes of the job that holds `slot`."""
    return FIRST_UID + slot


class Slots:
    """Who holds which place."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[JobId, int] = {}

    @property
    def free(self) -> int:
        """How many more jobs may start now."""
        return max(0, self._capacity - len(self._held))

    def of(self, job_id: JobId) -> int | None:
        """The place that the job holds."""
        return self._held.get(job_id)

    def take(self, job_id: JobId) -> bool:
        """Give the job a place where one is free; True where it holds one afterwards."""
        if job_id not in self._held:
            if not self.free:
                return False
            used = set(self._held.values())
            self._held[job_id] = next(number for number in range(len(used) + 1) if number not in used)
        return True

    def adopt(self, job_id: JobId, slot: int | None) -> None:
        """Account for a job that runs already, in `slot` where its container tells it.

        Jobs of an earlier controller may be more than the capacity: they keep running.
        """
        if job_id in self._held:
            return
        used = set(self._held.values())
        if slot is None or slot in used:
            slot = next(number for number in range(len(used) + 1) if number not in used)
        self._held[job_id] = slot

    def give_back(self, job_id: JobId) -> None:
        """The job needs its place no more; one that holds none is no error."""
        self._held.pop(job_id, None)
