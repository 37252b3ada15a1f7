"""Telling where a job's time went: `ci status --timing`, and the end of `ci submit test --timing`."""

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ci_client.client import ServerClient
from ci_client.inspecting import resolve
from ci_client.moments import Moments
from ci_client.problems import ClientError, cause_of
from ci_client.settings import Settings
from ci_client.tables import job_lines
from ci_client.terminal import Console
from ci_client.timing import times_of, timing_json, timing_lines
from ci_client.wire import JsonObject
from ci_common.clock import utc_now
from ci_common.job_times import JobTimes, Milestone, joined


def show_status(settings: Settings, console: Console, job: str, *, as_json: bool) -> int:
    """`ci status --timing`; the exit code."""
    found = resolve(ServerClient(settings, settings.required_key()), console, job, timing=True)
    if as_json:
        console.answer(json.dumps(found.raw, indent=2))
    else:
        table = timing_lines(times_of(found.raw), console.out.can_show, console.columns())
        console.answer("\n".join([*job_lines(found), "", *table]))
    return 0


@dataclass(frozen=True, slots=True)
class TimingReport:
    """Behind a submission's end, a courtesy: what fails here is told, and changes no exit code."""

    console: Console
    shows: bool
    file: str | None
    """Where to write it, if anywhere."""

    def tell(self, client: ServerClient, job_id: str, moments: Moments) -> None:
        """Ask for the server's times, and tell them with our own."""
        mine = times_noted(moments)
        told: JsonObject = {"job_id": job_id}
        try:
            told = client.job(job_id, timing=True).raw
        except ClientError as problem:
            self.console.note(f"the server's times are not known: {problem}")
        if self.shows:
            times = joined(mine, times_of(told))
            self.console.table(timing_lines(times, self.console.err_can_show, self.console.columns()))
        if self.file is not None:
            self._write(Path(self.file), {**told, "client_timing": timing_json(mine)})

    def _write(self, file: Path, told: JsonObject) -> None:
        try:
            file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            self.console.note(f"{file} can't be written: {cause_of(error)}")


def times_noted(moments: Moments) -> JobTimes:
    """Ours by the wall clock, which is asked once."""
    now, now_seconds = utc_now(), time.monotonic()
    return JobTimes(
        {
            Milestone(name): now - timedelta(seconds=now_seconds - seconds)
            for name, seconds in moments.seconds.items()
        }
    )
