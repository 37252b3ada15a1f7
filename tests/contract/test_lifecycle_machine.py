"""Any sequence of requests, on both repositories at once and on a model that knows only the rules.

The model says what may be seen of each job: its status, its container, its outcome, its last event.
Both repositories must agree with it and, but for times, with each other.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from ci_common.event_data import EventData
from ci_common.ids import ContainerId, JobId
from ci_common.models import (
    Job,
    JobEvent,
    JobStatus,
    LogPosition,
    Outcome,
    Phase,
    Reason,
    Stage,
    Verdict,
)
from ci_common.repository import Repository
from tests.contract.world import IMPLEMENTATIONS, World, a_run, an_environment, line, make_repository, nothing

Answer = TypeVar("Answer")

CONTAINERS = st.sampled_from([ContainerId("c1"), ContainerId("c2"), ContainerId("c3")])
STAGES = st.sampled_from(Stage)
LINES = st.lists(st.builds(line, st.text(max_size=20), st.sampled_from(Phase)), max_size=3)
VERDICTS = st.sampled_from(
    [
        Verdict(Outcome.PASSED, exit_code=0),
        Verdict(Outcome.FAILED, exit_code=3),
        Verdict(Outcome.ERROR, reason=Reason.INSTALL_FAILED),
        Verdict(Outcome.LOST, reason=Reason.INFRASTRUCTURE),
    ]
)


@dataclass(slots=True)
class Expected:
    """What the model knows of one job."""

    status: JobStatus = JobStatus.QUEUED
    container: ContainerId | None = None
    stage: Stage | None = None
    is_cancelled: bool = False
    attempt: int = 1
    outcome: Outcome | None = None
    events: int = 0

    def complete(self, outcome: Outcome, events: int) -> None:
        self.status = JobStatus.COMPLETED
        self.container = None
        self.outcome = Outcome.CANCELLED if self.is_cancelled else outcome
        self.events += events + 1


class Lifecycle(RuleBasedStateMachine):
    """Users' and the leader's requests in any order."""

    jobs: Bundle[JobId] = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory()
        self._worlds: list[World] = []
        self._expected: dict[JobId, Expected] = {}
        self._position = 0

    @initialize()
    def open(self) -> None:
        self._worlds = [self._wait(self._world(name)) for name in IMPLEMENTATIONS]

    def teardown(self) -> None:
        for world in self._worlds:
            self._wait(world.repository.close())
        self._runner.close()
        self._folder.cleanup()

    @rule(target=jobs)
    def submit(self) -> JobId:
        submission = self._worlds[0].submission()
        for world in self._worlds:
            own = replace(submission, user_id=world.user_id, key_id=world.key_id)
            job, made = self._wait(world.repository.submit(own, nothing))
            assert made
            assert job.status is JobStatus.QUEUED
        self._expected[submission.job_id] = Expected()
        return submission.job_id

    @rule(job_id=jobs, container=CONTAINERS, stage=STAGES)
    def bind(self, job_id: JobId, container: ContainerId, stage: Stage) -> None:
        expected = self._expected[job_id]
        is_bound = expected.container == container
        is_wanted = (
            expected.status is not JobStatus.COMPLETED
            and not expected.is_cancelled
            and expected.container in {None, container}
        )
        self._changed(
            is_wanted, lambda w: w.repository.bind_run(w.fence, job_id, a_run(container, w.fence, stage))
        )
        if is_wanted and not is_bound:
            expected.events += expected.status is JobStatus.QUEUED
            expected.status, expected.container, expected.stage = JobStatus.RUNNING, container, stage

    @rule(job_id=jobs, container=CONTAINERS, lines=LINES, verdict=st.none() | VERDICTS)
    def append(
        self, job_id: JobId, container: ContainerId, lines: Sequence[EventData], verdict: Verdict | None
    ) -> None:
        expected = self._expected[job_id]
        is_bound = expected.container == container
        self._position += 1
        position = LogPosition(self._position)
        self._changed(
            is_bound,
            lambda w: w.repository.append(w.fence, job_id, container, lines, position, verdict=verdict),
        )
        if is_bound and verdict is None:
            expected.events += len(lines)
        elif is_bound and verdict is not None:
            expected.complete(verdict.outcome, len(lines))

    @rule(job_id=jobs, lines=LINES)
    def install(self, job_id: JobId, lines: Sequence[EventData]) -> None:
        expected = self._expected[job_id]
        container = expected.container
        if container is None or expected.stage is not Stage.INSTALL:
            return
        self._position += 1
        position = LogPosition(self._position)
        self._changed(
            True,
            lambda w: w.repository.append(
                w.fence, job_id, container, lines, position, environment=an_environment(w.user_id)
            ),
        )
        expected.container = None
        expected.events += len(lines)

    @rule(job_id=jobs, container=st.none() | CONTAINERS, uses_attempt=st.booleans())
    def requeue(self, job_id: JobId, container: ContainerId | None, *, uses_attempt: bool) -> None:
        expected = self._expected[job_id]
        is_lost = expected.status is JobStatus.RUNNING and expected.container == container
        self._changed(
            is_lost,
            lambda w: w.repository.requeue(w.fence, job_id, container, "gone", uses_attempt=uses_attempt),
        )
        if is_lost and expected.is_cancelled:
            expected.complete(Outcome.CANCELLED, 1)
        elif is_lost:
            expected.status, expected.container = JobStatus.QUEUED, None
            expected.attempt += uses_attempt
            expected.events += 2

    @rule(job_id=jobs)
    def cancel(self, job_id: JobId) -> None:
        expected = self._expected[job_id]
        self._changed(True, lambda w: w.repository.request_cancel(job_id, Reason.CANCELLED_BY_USER))
        if expected.status is JobStatus.QUEUED:
            expected.complete(Outcome.CANCELLED, 0)
        elif expected.status is JobStatus.RUNNING:
            expected.is_cancelled = True

    @rule(job_id=jobs, verdict=VERDICTS, lines=LINES)
    def complete(self, job_id: JobId, verdict: Verdict, lines: Sequence[EventData]) -> None:
        expected = self._expected[job_id]
        self._changed(True, lambda w: w.repository.complete(w.fence, job_id, verdict, lines))
        if expected.status is not JobStatus.COMPLETED:
            expected.complete(verdict.outcome, len(lines))

    @rule(job_id=jobs, lines=LINES)
    def add_events(self, job_id: JobId, lines: Sequence[EventData]) -> None:
        expected = self._expected[job_id]
        self._changed(True, lambda w: w.repository.add_events(w.fence, job_id, lines))
        if expected.status is not JobStatus.COMPLETED:
            expected.events += len(lines)

    @rule(job_id=jobs, waiting=st.none() | st.just("no engine"))
    def set_waiting(self, job_id: JobId, waiting: str | None) -> None:
        for world in self._worlds:
            self._wait(world.repository.set_waiting(world.fence, job_id, waiting))

    @rule(job_id=consumes(jobs))
    def forget(self, job_id: JobId) -> None:
        """Leaves a job alone from here on, so that others get their turns."""
        self._check(job_id)

    @invariant()
    def everybody_agrees(self) -> None:
        for job_id in self._expected:
            self._check(job_id)

    def _check(self, job_id: JobId) -> None:
        expected = self._expected[job_id]
        seen = [self._wait(_seen(world, job_id)) for world in self._worlds]
        assert all(other == seen[0] for other in seen)
        job, events = seen[0]
        assert job.status is expected.status
        assert (None if job.run is None else job.run.container_id) == expected.container
        assert (job.attempt, job.outcome, job.last_seq) == (
            expected.attempt,
            expected.outcome,
            expected.events,
        )
        assert [event.seq for event in events] == list(range(1, expected.events + 1))
        completions = [event.seq for event in events if event.type == "complete"]
        assert completions == ([expected.events] if expected.outcome is not None else [])

    def _changed(self, is_change: bool, ask: Callable[[World], Awaitable[Job | None]]) -> None:
        for world in self._worlds:
            answer = self._wait(_answer(ask(world)))
            assert (answer is not None) == is_change

    async def _world(self, implementation: str) -> World:
        repository: Repository = make_repository(implementation, Path(self._folder.name))
        await repository.initialize()
        return await World.create(repository)

    def _wait(self, work: Coroutine[object, object, Answer]) -> Answer:
        return self._runner.run(work)


async def _answer(asked: Awaitable[Job | None]) -> Job | None:
    return await asked


async def _seen(world: World, job_id: JobId) -> tuple[Job, Sequence[JobEvent]]:
    job = await world.repository.get_job(job_id)
    assert job.user_id == world.user_id
    events = await world.repository.events_after(job_id, 0)
    return replace(job, user_id="", start_time=None, end_time=None), list(events)


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
