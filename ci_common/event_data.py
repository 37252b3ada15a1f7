"""The JSON objects that events carry, built in one place so that every writer agrees.

INTERFACE: `log`, `status`, `notice` and `complete`, each with its own name in `type`.
"""

from ci_common.models import EventType, Job, JobStatus, Outcome, Phase, Reason

EventData = dict[str, object]


def log_data(phase: Phase, text: str) -> EventData:
    """A chunk of output: any number of lines, whole or not."""
    return {"type": EventType.LOG.value, "phase": phase.value, "data": text}


def status_data(status: JobStatus) -> EventData:
    """The job's status has become `status`."""
    return {"type": EventType.STATUS.value, "status": status.value}


def notice_data(text: str) -> EventData:
    """The platform speaks, in one line of text for people."""
    return {"type": EventType.NOTICE.value, "data": text}


def complete_data(outcome: Outcome, exit_code: int | None, reason: Reason | None) -> EventData:
    """The last event of a job."""
    return {
        "type": EventType.COMPLETE.value,
        "outcome": outcome.value,
        "success": outcome is Outcome.PASSED,
        "exit_code": exit_code,
        "reason": None if reason is None else reason.value,
    }


def complete_data_of(job: Job) -> EventData:
    """The `complete` event of a job that has completed."""
    assert job.outcome is not None, f"job {job.id} has not completed"
    return complete_data(job.outcome, job.exit_code, job.reason)
