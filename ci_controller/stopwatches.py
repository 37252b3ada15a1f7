"""A stopwatch for each job that a leadership works on, from its admission to its end.

Lost with the process, like all of a leadership's memory: the next controller notes what it sees itself,
beside what is stored already. Only the event loop's thread touches this.
"""

from ci_common.ids import JobId
from ci_common.job_times import Milestone, Stopwatch


class Stopwatches:
    """The present attempts' watches."""

    def __init__(self) -> None:
        self._watches: dict[JobId, Stopwatch] = {}

    def of(self, job_id: JobId) -> Stopwatch:
        """The job's, a new one where it has none."""
        return self._watches.setdefault(job_id, Stopwatch())

    def begin(self, job_id: JobId) -> None:
        """The job has got a place: whatever was noted belongs to an earlier try."""
        self._watches[job_id] = Stopwatch()
        self._watches[job_id].mark(Milestone.ADMITTED)

    def forget(self, job_id: JobId) -> None:
        """The attempt has ended."""
        self._watches.pop(job_id, None)
