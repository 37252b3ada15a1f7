"""The containers that this process attends to at present, and what it knows of them beside the engine.

An attempt starts and feeds a container (if it is new), and pumps its log until the last word. All of it
can be lost: the next controller finds the containers by their labels and the positions in the database.
Only the event loop's thread touches this.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from ci_common.ids import ContainerId, JobId
from ci_controller.decide import Stopping
from ci_controller.settle import LastWord

STOP_PATIENCE_SECONDS = 15.0
"""After SIGTERM: the runner itself gives the tests 10 s before it ends them."""
ASK_AGAIN_SECONDS = 1.0
"""The kernel drops a signal that process 1 isn't prepared for: one that has just been started is deaf."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Attempt:
    """One container while it is bound to a job."""

    job_id: JobId
    container_id: ContainerId
    deadline: float
    """On the event loop's clock: the runner must have kept the time limit by then."""
    task: asyncio.Task[LastWord] | None = None
    last_word: LastWord | None = None
    stop_asked_at: float | None = None
    """For the first time."""
    ask_again_at: float = 0.0
    ended_for_time: bool = False
    """This controller has ended it because the runner had not kept the time limit."""

    @property
    def attended(self) -> bool:
        """Its log is being followed."""
        return self.task is not None and not self.task.done()

    def stopping(self, now: float) -> Stopping:
        """How far ending it has gone."""
        if self.stop_asked_at is None:
            return Stopping.NO
        if now - self.stop_asked_at >= STOP_PATIENCE_SECONDS:
            return Stopping.OVERDUE
        return Stopping.ASKED if now < self.ask_again_at else Stopping.TO_ASK_AGAIN

    def ask_to_stop(self, now: float) -> None:
        """SIGTERM is being sent."""
        self.stop_asked_at = now if self.stop_asked_at is None else self.stop_asked_at
        self.ask_again_at = now + ASK_AGAIN_SECONDS

    def past_deadline(self, now: float) -> bool:
        """Whether the controller must keep the time limit itself."""
        return now >= self.deadline


Ended = Callable[[Attempt, BaseException | None], None]
"""Takes what went wrong; None where there is a last word."""


class Attempts:
    """At most one attempt a job; `ended` is called when its task has come to an end."""

    def __init__(self, ended: Ended) -> None:
        self._ended = ended
        self._by_job: dict[JobId, Attempt] = {}
        self._by_container: dict[ContainerId, Attempt] = {}
        self.failed_launches: dict[JobId, int] = {}

    def of(self, job_id: JobId, container_id: ContainerId) -> Attempt | None:
        """The attempt with this container."""
        attempt = self._by_job.get(job_id)
        return attempt if attempt is not None and attempt.container_id == container_id else None

    def job_of(self, container_id: ContainerId) -> JobId | None:
        """The job whose attempt this container is."""
        attempt = self._by_container.get(container_id)
        return None if attempt is None else attempt.job_id

    def open(self, job_id: JobId, container_id: ContainerId, deadline: float) -> Attempt:
        """The attempt with this container, a new one where there is none."""
        known = self.of(job_id, container_id)
        if known is not None:
            return known
        self.forget(job_id)
        attempt = Attempt(job_id, container_id, deadline)
        self._by_job[job_id] = attempt
        self._by_container[container_id] = attempt
        return attempt

    def attend(self, attempt: Attempt, work: Coroutine[object, object, LastWord]) -> None:
        """Run `work` as the attempt's task."""
        assert not attempt.attended, f"container {attempt.container_id} is attended already"
        task = asyncio.create_task(work, name=f"attempt {attempt.job_id}")
        attempt.task = task
        task.add_done_callback(lambda done: self._when_done(attempt, done))

    def forget(self, job_id: JobId) -> None:
        """The job is bound to no container any more."""
        attempt = self._by_job.pop(job_id, None)
        if attempt is not None:
            del self._by_container[attempt.container_id]
            if attempt.task is not None:
                attempt.task.cancel()

    async def close(self) -> None:
        """Stop attending; the containers go on."""
        tasks = [attempt.task for attempt in self._by_job.values() if attempt.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _when_done(self, attempt: Attempt, task: asyncio.Task[LastWord]) -> None:
        if task.cancelled():
            return
        problem = task.exception()
        attempt.last_word = task.result() if problem is None else None
        self._ended(attempt, problem)
