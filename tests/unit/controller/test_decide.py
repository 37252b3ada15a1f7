"""`decide` over all that can be seen: safe in every state, and never at a loss."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.ids import ContainerId, Fence, JobId, UserId, VolumeName
from ci_common.lifecycle import MAX_ATTEMPTS
from ci_common.models import Job, JobStatus, LogPosition, Outcome, Reason, Run, Stage, SubmitOptions, Verdict
from ci_controller.container_view import ContainerStatus, ContainerView, Role
from ci_controller.decide import (
    MAX_FAILED_LAUNCHES,
    Action,
    AskToStop,
    Attend,
    CleanUp,
    Complete,
    InstallPackages,
    Kill,
    LoseEnvironment,
    Nothing,
    Prospects,
    Readiness,
    Requeue,
    RunTests,
    Seen,
    Start,
    Stopping,
    Wait,
    decide,
    decide_start,
)
from ci_controller.settle import Drained, EnvironmentGone, LastWord, Lost, NeverFed, Unbound

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINE, OLDER = Fence(7), Fence(6)
CONTAINER = ContainerId("c" * 64)


def job_with(
    status: JobStatus = JobStatus.RUNNING,
    *,
    bound: bool = True,
    fed: bool = True,
    fence: Fence = MINE,
    attempt: int = 1,
    cancel: Reason | None = None,
) -> Job:
    run = Run(Stage.TEST, CONTAINER, fence, VolumeName("v"), LogPosition(), fed=fed) if bound else None
    completed = status is JobStatus.COMPLETED
    return Job(
        id=JobId("7f1d5c0a-0000-4000-8000-000000000001"),
        user_id=UserId("7f1d5c0a-0000-4000-8000-000000000002"),
        status=status,
        options=SubmitOptions(),
        bundle_bytes=1,
        submit_time=NOW,
        attempt=attempt,
        outcome=Outcome.PASSED if completed else None,
        exit_code=0 if completed else None,
        cancel_reason=cancel,
        run=run,
    )


def view(status: ContainerStatus = ContainerStatus.RUNNING, *, oom_killed: bool = False) -> ContainerView:
    return ContainerView(
        id=CONTAINER,
        name="n",
        role=Role.JOB,
        job_id=None,
        fence=MINE,
        attempt=1,
        slot=0,
        frames_version=1,
        status=status,
        exit_code=None,
        oom_killed=oom_killed,
        created_at=NOW,
    )


SEEN = Seen(
    container=view(),
    attended=True,
    last_word=None,
    stopping=Stopping.NO,
    past_deadline=False,
    ended_for_time=False,
    failed_launches=0,
)
ENDED = replace(SEEN, container=view(ContainerStatus.EXITED), attended=False, last_word=Drained())

LAST_WORDS: list[LastWord | None] = [
    None,
    Drained(),
    Unbound(),
    NeverFed(),
    Lost("x"),
    EnvironmentGone(),
    Verdict(Outcome.PASSED, 0),
]
jobs = st.builds(
    job_with,
    status=st.sampled_from([JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED]),
    bound=st.booleans(),
    fed=st.booleans(),
    fence=st.sampled_from([MINE, OLDER]),
    attempt=st.integers(1, MAX_ATTEMPTS),
    cancel=st.sampled_from([None, Reason.CANCELLED_BY_USER]),
).filter(lambda job: job.status is JobStatus.RUNNING or job.run is None)
sights = st.builds(
    Seen,
    container=st.none() | st.builds(view, st.sampled_from(ContainerStatus), oom_killed=st.booleans()),
    attended=st.booleans(),
    last_word=st.sampled_from(LAST_WORDS),
    stopping=st.sampled_from(Stopping),
    past_deadline=st.booleans(),
    ended_for_time=st.booleans(),
    failed_launches=st.integers(0, 5),
)


@given(jobs, sights)
def test_every_state_has_exactly_one_safe_step(job: Job, seen: Seen) -> None:
    action = decide(job, seen, MINE)
    if job.status is JobStatus.COMPLETED:
        assert action == CleanUp()
    if isinstance(action, Start):
        assert job.run is None
        assert job.cancel_reason is None
    if isinstance(action, (Attend, AskToStop, Kill)):
        assert job.run is not None
        assert seen.container is not None
    if isinstance(action, Attend):
        assert not seen.attended
    if isinstance(action, Requeue):
        assert job.cancel_reason is None
        assert action.uses_attempt <= (job.attempt < MAX_ATTEMPTS)
    if isinstance(action, Complete) and job.cancel_reason is not None and seen.last_word is None:
        assert action.verdict.outcome is Outcome.CANCELLED


@given(jobs, sights)
def test_a_container_of_an_older_leader_without_files_is_never_attended(job: Job, seen: Seen) -> None:
    if job.run is None or job.run.fed or job.run.fence == MINE or seen.attended:
        return
    assert not isinstance(decide(job, seen, MINE), Attend)


CASES: list[tuple[str, Job, Seen, Action]] = [
    ("queued", job_with(JobStatus.QUEUED, bound=False), SEEN, Start()),
    ("between its containers", job_with(bound=False), SEEN, Start()),
    (
        "cancelled between its containers",
        job_with(bound=False, cancel=Reason.CANCELLED_BY_USER),
        SEEN,
        Complete(Verdict(Outcome.CANCELLED, reason=Reason.CANCELLED_BY_USER)),
    ),
    ("attended", job_with(), SEEN, Nothing()),
    ("taken over", job_with(fence=OLDER), replace(SEEN, attended=False), Attend()),
    (
        "taken over before it had its files",
        job_with(fence=OLDER, fed=False),
        replace(SEEN, attended=False),
        Requeue(None, uses_attempt=False),
    ),
    ("to be cancelled", job_with(cancel=Reason.CANCELLED_BY_USER), SEEN, AskToStop()),
    (
        "being cancelled",
        job_with(cancel=Reason.CANCELLED_BY_USER),
        replace(SEEN, stopping=Stopping.ASKED),
        Nothing(),
    ),
    (
        "perhaps not heard yet",
        job_with(cancel=Reason.CANCELLED_BY_USER),
        replace(SEEN, stopping=Stopping.TO_ASK_AGAIN),
        AskToStop(),
    ),
    (
        "deaf to cancellation",
        job_with(cancel=Reason.CANCELLED_BY_USER),
        replace(SEEN, stopping=Stopping.OVERDUE),
        Kill(),
    ),
    ("past its time", job_with(), replace(SEEN, past_deadline=True), Kill()),
    ("paused by a stranger", job_with(), replace(SEEN, container=view(ContainerStatus.PAUSED)), Kill()),
    (
        "ended, log unread",
        job_with(),
        replace(SEEN, container=view(ContainerStatus.EXITED), attended=False),
        Attend(),
    ),
    (
        "ended for memory",
        job_with(),
        replace(ENDED, container=view(ContainerStatus.EXITED, oom_killed=True)),
        Complete(Verdict(Outcome.OUT_OF_MEMORY, reason=Reason.MEMORY_LIMIT)),
    ),
    (
        "ended past its time",
        job_with(),
        replace(ENDED, past_deadline=True, ended_for_time=True),
        Complete(Verdict(Outcome.TIMED_OUT, reason=Reason.TIME_LIMIT)),
    ),
    (
        "ended without a word",
        job_with(),
        ENDED,
        Requeue(
            "Its container ended without a result (attempt 1 of 3); starting again",
            uses_attempt=True,
        ),
    ),
    (
        "disappeared for the last time",
        job_with(attempt=MAX_ATTEMPTS),
        replace(SEEN, container=None, attended=False),
        Complete(
            Verdict(Outcome.LOST, reason=Reason.INFRASTRUCTURE),
            notice="Its container has disappeared (attempt 3 of 3); giving up",
        ),
    ),
    (
        "not fed",
        job_with(fed=False),
        replace(SEEN, attended=False, last_word=NeverFed(), failed_launches=1),
        Requeue(None, uses_attempt=False),
    ),
    (
        "not fed too often",
        job_with(fed=False),
        replace(SEEN, attended=False, last_word=NeverFed(), failed_launches=MAX_FAILED_LAUNCHES),
        Requeue("Its container could not be started (attempt 1 of 3); starting again", uses_attempt=True),
    ),
    ("without its packages", job_with(), replace(SEEN, last_word=EnvironmentGone()), LoseEnvironment()),
]


@pytest.mark.parametrize(("job", "seen", "action"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_the_step_is(job: Job, seen: Seen, action: Action) -> None:
    assert decide(job, seen, MINE) == action


PROSPECTS = Prospects(
    readiness=Readiness(None),
    has_slot=True,
    usable_environment=None,
    installs_itself=False,
    installing_job=None,
)
OTHER = JobId("7f1d5c0a-0000-4000-8000-000000000009")


def test_a_job_that_can_start_gets_the_container_that_it_needs() -> None:
    volume = VolumeName("v")
    assert decide_start(PROSPECTS) == InstallPackages()
    assert decide_start(replace(PROSPECTS, usable_environment=volume)) == RunTests(volume)
    assert decide_start(replace(PROSPECTS, installs_itself=True)) == RunTests(None)


def test_a_job_that_cannot_start_says_why() -> None:
    assert decide_start(replace(PROSPECTS, readiness=Readiness("no engine"))) == Wait("no engine")
    assert decide_start(replace(PROSPECTS, has_slot=False)) == Wait(None)
    waits = decide_start(replace(PROSPECTS, installing_job=OTHER))
    assert waits == Wait(f"Waiting for the packages that job {OTHER} is installing")
