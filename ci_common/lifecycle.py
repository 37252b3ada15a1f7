"""The state machine of a job, pure: what may follow what, and which outcome an ended test run has.

    queued ──▶ running ──▶ completed
       ▲          │            ▲
       └──────────┘            │       only when its container was lost: a new attempt
       └───────────────────────┘       cancelled, or found untestable, before it started

Everything that changes a job's status checks here, in every repository.
"""

from ci_common.exit_codes import EXIT_CANCELLED, EXIT_ERROR, EXIT_LOST, EXIT_OUT_OF_MEMORY, EXIT_TIMED_OUT
from ci_common.models import JobStatus, Outcome, Reason

MAX_ATTEMPTS = 3
"""Containers that a job may lose before it is `lost`: the first and two more."""

_TRANSITIONS = frozenset(
    {
        (JobStatus.QUEUED, JobStatus.RUNNING),
        (JobStatus.QUEUED, JobStatus.COMPLETED),
        (JobStatus.RUNNING, JobStatus.COMPLETED),
        (JobStatus.RUNNING, JobStatus.QUEUED),
    }
)

_EXIT_CODES = {
    Outcome.ERROR: EXIT_ERROR,
    Outcome.LOST: EXIT_LOST,
    Outcome.TIMED_OUT: EXIT_TIMED_OUT,
    Outcome.CANCELLED: EXIT_CANCELLED,
    Outcome.OUT_OF_MEMORY: EXIT_OUT_OF_MEMORY,
}


def may_follow(before: JobStatus, after: JobStatus) -> bool:
    """Whether a job may go from `before` to `after`."""
    return (before, after) in _TRANSITIONS


def outcome_of_exit(exit_code: int) -> Outcome:
    """The outcome of tests whose process ended with `exit_code` and for no reason of the platform's."""
    return Outcome.PASSED if exit_code == 0 else Outcome.FAILED


def client_exit_code(outcome: Outcome, exit_code: int | None) -> int:
    """What `ci submit test` and `ci wait` exit with: the tests' own code, or the platform's."""
    if outcome in _EXIT_CODES:
        return _EXIT_CODES[outcome]
    assert exit_code is not None, "passed and failed come with the code of the tests' process"
    return exit_code


EXPLANATIONS = {
    Reason.INSTALL_FAILED: "installing requirements.txt failed; its output says why (ci wait --all JOB)",
    Reason.PYTEST_MISSING: "pytest is not installed in the environment; add it to requirements.txt",
    Reason.DISK_LIMIT: "the job used more disk than CI_JOB_DISK allows; write less, or ask for more",
    Reason.LOG_LIMIT: "the job printed more than CI_MAX_LOG_BYTES allows; print less, or ask for more",
    Reason.BAD_BUNDLE: "the uploaded files could not be read; submit again",
    Reason.BAD_PROJECT: "the project can't be tested as it is; its notice says why (ci wait --all JOB)",
    Reason.TIME_LIMIT: "the job ran longer than CI_JOB_TIMEOUT_SECONDS allows; test less, or ask for more",
    Reason.MEMORY_LIMIT: "killed for using more memory than CI_JOB_MEMORY allows; use less, or ask for more",
    Reason.CANCELLED_BY_USER: "cancelled by its owner",
    Reason.CANCELLED_BY_ADMIN: "cancelled by an administrator; ask why before you submit again",
    Reason.USER_DEACTIVATED: "cancelled because its owner was deactivated; ask an administrator",
    Reason.INFRASTRUCTURE: "the machine lost the job's container each time; submit again",
}
"""One sentence a reason, for people: the cause and the next step."""
