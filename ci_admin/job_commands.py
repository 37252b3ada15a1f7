"""`ci-admin job …`: everybody's jobs, and stopping one of them."""

from collections.abc import Mapping, Sequence

import click

from ci_admin import database, output
from ci_admin.options import database_option, json_option
from ci_common.clock import to_iso
from ci_common.errors import InvalidInput, NotFound
from ci_common.ids import UserId, parse_job_prefix
from ci_common.models import Job, JobStatus, Reason
from ci_common.repository import ControllerRepository

_DEFAULT_LIMIT = 100
_MARKS = {True: "\N{CHECK MARK}", False: "\N{BALLOT X}", None: "-"}
_PLAIN_MARKS = {True: "yes", False: "no", None: "-"}


@click.group()
@database_option
def job() -> None:
    """Jobs of all users."""


@job.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=_DEFAULT_LIMIT, show_default=True)
@click.option("--status", type=click.Choice([each.value for each in JobStatus]), help="Only these.")
@json_option
@database_option
def list_jobs(limit: int, status: str | None, as_json: bool) -> None:
    """List everybody's jobs, newest first."""
    wanted = None if status is None else JobStatus(status)

    async def find(repository: ControllerRepository) -> tuple[Sequence[Job], Mapping[UserId, str]]:
        jobs = await repository.list_jobs(None, limit + 1, status=wanted)
        return jobs, {each.id: each.email for each in await repository.list_users()}

    found, emails = database.run(find)
    jobs = found[:limit]
    if as_json:
        click.echo(output.as_json([_described(each, emails[each.user_id]) for each in jobs]))
    else:
        click.echo(_table(jobs, emails))
    if len(found) > limit:
        click.echo(f"There are more than {limit} jobs; --limit shows more.", err=True)


@job.command("cancel")
@click.argument("job_id", metavar="JOB")
@database_option
def cancel_job(job_id: str) -> None:
    """Cancel a job; JOB is its id or a unique beginning of it."""
    prefix = parse_job_prefix(job_id)

    async def cancel(repository: ControllerRepository) -> tuple[Job, Job]:
        before = _only(await repository.find_jobs(None, prefix), prefix)
        return before, await repository.request_cancel(before.id, Reason.CANCELLED_BY_ADMIN)

    before, after = database.run(cancel)
    if before.status is JobStatus.COMPLETED:
        click.echo(f"Job {after.id} has already completed: {after.outcome}")
    elif after.status is JobStatus.COMPLETED:
        click.echo(f"Job {after.id} is cancelled")
    else:
        click.echo(f"Job {after.id} is being cancelled; the controller ends its container")


def _only(found: Sequence[Job], prefix: str) -> Job:
    if not found:
        raise NotFound(f"there is no job {prefix}")
    if len(found) > 1:
        raise InvalidInput(f"several jobs begin with {prefix}: give more characters of the id")
    return found[0]


def _table(jobs: Sequence[Job], emails: Mapping[UserId, str]) -> str:
    marks = _MARKS if output.can_show(_MARKS[True] + _MARKS[False]) else _PLAIN_MARKS
    header = ("JOB ID", "USER", "STATUS", "OUTCOME", "SUCCESS", "SUBMIT TIME", "START TIME", "END TIME")
    rows = [
        (
            each.id,
            emails[each.user_id],
            each.status.value,
            "-" if each.outcome is None else each.outcome.value,
            marks[each.success],
            output.moment(each.submit_time),
            output.moment(each.start_time),
            output.moment(each.end_time),
        )
        for each in jobs
    ]
    return output.table(header, rows)


def _described(shown: Job, email: str) -> dict[str, object]:
    return {
        "job_id": shown.id,
        "user_id": shown.user_id,
        "user_email": email,
        "status": shown.status.value,
        "success": shown.success,
        "outcome": None if shown.outcome is None else shown.outcome.value,
        "reason": None if shown.reason is None else shown.reason.value,
        "exit_code": shown.exit_code,
        "submit_time": to_iso(shown.submit_time),
        "start_time": output.iso(shown.start_time),
        "end_time": output.iso(shown.end_time),
        "attempt": shown.attempt,
        "bundle_bytes": shown.bundle_bytes,
        "waiting": shown.waiting,
    }
