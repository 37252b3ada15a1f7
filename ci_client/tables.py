"""Jobs as tables and lines for people. Pure.

Columns are as wide as what stands in them. In a pipe nothing is ever left out; on a terminal that is too
narrow, the last columns go first, then ids are shortened to a beginning that still names the job.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from ci_client.results import duration_text
from ci_client.wire import JobView

_NONE = "-"
_GAP = "  "
_HEADINGS = ("JOB ID", "STATUS", "SUCCESS", "START TIME", "END TIME", "DURATION", "OUTCOME")
_LEAST_COLUMNS = 5
_WHOLE_ID = 36
_SHORT_ID = 8


def job_table(
    jobs: Sequence[JobView], can_show: Callable[[str], bool], width: int | None = None
) -> list[str]:
    """The lines of the table, headings first; times are the user's own."""
    marks = {True: "✓", False: "✗"} if can_show("✓✗") else {True: "yes", False: "no"}
    rows = [_HEADINGS, *(_row(job, marks) for job in jobs)]
    lines = _aligned(rows)
    if width is None:
        return lines
    for id_characters, columns in _forms(jobs):
        if max(map(len, lines)) <= width:
            break
        lines = _aligned([(row[0][:id_characters], *row[1:columns]) for row in rows])
    return lines


def _forms(jobs: Sequence[JobView]) -> list[tuple[int, int]]:
    """Characters of an id and number of columns, each form narrower than the one before."""
    fewer_columns = range(len(_HEADINGS) - 1, _LEAST_COLUMNS - 1, -1)
    return [*((_WHOLE_ID, columns) for columns in fewer_columns), (_telling_id(jobs), _LEAST_COLUMNS)]


def _telling_id(jobs: Sequence[JobView]) -> int:
    """How many characters tell these jobs apart."""
    for characters in range(_SHORT_ID, _WHOLE_ID):
        if len({job.job_id[:characters] for job in jobs}) == len(jobs):
            return characters
    return _WHOLE_ID


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _row(job: JobView, marks: dict[bool, str]) -> tuple[str, ...]:
    return (
        job.job_id,
        job.status,
        _NONE if job.success is None else marks[job.success],
        moment_text(job.start_time),
        moment_text(job.end_time),
        run_time_text(job),
        job.outcome or _NONE,
    )


def job_lines(job: JobView) -> list[str]:
    """One job, a line for each thing to know."""
    outcome = job.outcome or _NONE
    if job.reason is not None:
        outcome += f" ({job.reason})"
    pairs = [
        ("Job ID", job.job_id),
        ("Status", f"{job.status}, cancellation requested" if _is_ending(job) else job.status),
        ("Outcome", outcome),
        ("Exit code", _NONE if job.exit_code is None else str(job.exit_code)),
        ("Submitted", moment_text(job.submit_time)),
        ("Started", moment_text(job.start_time)),
        ("Ended", moment_text(job.end_time)),
        ("Duration", run_time_text(job)),
    ]
    if job.attempt > 1:
        pairs.append(("Attempt", str(job.attempt)))
    if job.waiting is not None and not job.is_completed:
        pairs.append(("Waiting", job.waiting))
    width = max(len(name) for name, _ in pairs) + 1
    return [f"{name + ':':<{width}} {value}" for name, value in pairs]


def _is_ending(job: JobView) -> bool:
    return job.cancel_requested and not job.is_completed


def moment_text(moment: datetime | None) -> str:
    """A time by the user's clock."""
    return _NONE if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def run_time_text(job: JobView) -> str:
    """From start to end, where there are both."""
    if job.start_time is None or job.end_time is None:
        return _NONE
    return duration_text(max(0.0, (job.end_time - job.start_time).total_seconds()))
