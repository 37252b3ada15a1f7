"""`--timing` behind a submission's end: the client's own moments beside the server's, shown or written.

A courtesy: what fails here is told, and changes nothing of the exit code.
"""

import json
from pathlib import Path

from ci_client.client import ServerClient
from ci_client.problems import ClientError, cause_of
from ci_client.terminal import Console
from ci_client.timing import timing_json, timing_lines
from ci_client.wire import JsonObject
from ci_common.ids import JobId
from ci_common.job_times import NO_TIMES, JobTimes, joined


def tell_times(
    console: Console, client: ServerClient, job_id: JobId, mine: JobTimes, *, shown: bool, file: str | None
) -> None:
    """Show the phases as a small waterfall, write all moments into `file`, or both."""
    job = None
    try:
        job = client.job(job_id, timing=True)
    except ClientError as problem:
        console.note(f"the server's times are not known: {problem}")
    if shown:
        times = joined(mine, NO_TIMES if job is None else job.times)
        console.table(timing_lines(times, console.err_can_show, console.columns()))
    if file is not None:
        told = {"job_id": job_id} if job is None else dict(job.raw)
        _write(console, Path(file), told | {"client_timing": timing_json(mine)})


def _write(console: Console, file: Path, told: JsonObject) -> None:
    try:
        file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        console.note(f"{file} can't be written: {cause_of(error)}")
