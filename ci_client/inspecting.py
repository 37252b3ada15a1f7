"""Looking at jobs and stopping them: `ci list`, `ci status`, `ci logs`, `ci cancel`."""

import codecs
import json
from collections.abc import Iterator

from ci_client.client import ServerClient
from ci_client.problems import NoSuchJob
from ci_client.results import sentence_of
from ci_client.retrying import FIRST_CONTACT_SECONDS, Patience, persistently
from ci_client.settings import Settings
from ci_client.tables import job_lines, job_table
from ci_client.terminal import Console
from ci_client.wire import JobView, completion_of
from ci_common.errors import InvalidInput
from ci_common.ids import parse_job_prefix
from ci_common.models import Outcome

_PAGE_JOBS = 1000


def resolve(client: ServerClient, console: Console, job: str, *, timing: bool = False) -> JobView:
    """The job that a user means by an id or its beginning; with `timing`, when its phases were.

    Raises:
        NoSuchJob: there is none.
        ClientError: it can't be told.
    """
    try:
        prefix = parse_job_prefix(job)
    except InvalidInput as error:
        raise NoSuchJob(f"{error}; `ci list` shows yours") from None
    return persistently(lambda: client.job(prefix, timing=timing), _patience(console))


def list_jobs(settings: Settings, console: Console, *, limit: int, status: str | None, as_json: bool) -> int:
    """`ci list`; the exit code."""
    client = ServerClient(settings, settings.required_key())
    jobs = _newest(client, console, limit + 1, status)
    shown = jobs[:limit]
    if as_json:
        console.answer(json.dumps([job.raw for job in shown], indent=2))
    elif shown:
        console.answer("\n".join(job_table(shown, console.out.can_show, console.columns())))
    else:
        console.note("no jobs yet; `ci submit test` makes one" if status is None else f"no {status} jobs")
    if len(jobs) > limit:
        console.note(f"there are more than {limit}; --limit shows more")
    return 0


def _newest(client: ServerClient, console: Console, count: int, status: str | None) -> list[JobView]:
    jobs: list[JobView] = []
    patience = _patience(console)
    while len(jobs) < count:
        wanted = min(_PAGE_JOBS, count - len(jobs))
        before = jobs[-1].job_id if jobs else None
        page = persistently(lambda n=wanted, b=before: client.jobs(n, b, status), patience)
        jobs += page
        if len(page) < wanted:
            break
    return jobs


def show_status(settings: Settings, console: Console, job: str, *, as_json: bool) -> int:
    """`ci status`; the exit code."""
    found = resolve(ServerClient(settings, settings.required_key()), console, job)
    console.answer(json.dumps(found.raw, indent=2) if as_json else "\n".join(job_lines(found)))
    return 0


def cancel_job(settings: Settings, console: Console, job: str) -> int:
    """`ci cancel`; the exit code."""
    client = ServerClient(settings, settings.required_key())
    before = resolve(client, console, job)
    if not before.is_completed:
        after = persistently(lambda: client.cancel(before.job_id), _patience(console))
    else:
        after = before
    if not after.is_completed:
        console.answer(f"Job {after.job_id} is being cancelled")
    elif after.outcome == Outcome.CANCELLED and not before.is_completed:
        console.answer(f"Job {after.job_id} cancelled")
    else:
        console.answer(f"Job {after.job_id} already completed: {sentence_of(completion_of(after))}")
    return 0


def show_logs(settings: Settings, console: Console, job: str, *, everything: bool) -> int:
    """`ci logs`; the exit code."""
    client = ServerClient(settings, settings.required_key())
    found = resolve(client, console, job)
    reader = _LogReader(client, console, found.job_id, everything=everything)
    persistently(reader.read_on, reader.patience)
    reader.finish()
    if not everything and not reader.read_bytes and found.outcome == Outcome.ERROR:
        console.note(f"the tests didn't run; what there is: ci wait --all {found.job_id}")
    return 0


class _LogReader:
    """Reads a log that only grows: after a cut it begins again and skips what it has shown."""

    def __init__(self, client: ServerClient, console: Console, job_id: str, *, everything: bool) -> None:
        self._client = client
        self._console = console
        self._job_id = job_id
        self._everything = everything
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.patience = _patience(console)
        self.read_bytes = 0

    def read_on(self) -> None:
        with self._client.logs(self._job_id, everything=self._everything) as pieces:
            for piece in _behind(pieces, self.read_bytes):
                self._console.test_output(self._decoder.decode(piece))
                self.read_bytes += len(piece)
                self.patience.progressed()

    def finish(self) -> None:
        self._console.test_output(self._decoder.decode(b"", final=True))
        self._console.finish_output()


def _behind(pieces: Iterator[bytes], skipped: int) -> Iterator[bytes]:
    for piece in pieces:
        if skipped < len(piece):
            yield piece[skipped:]
        skipped = max(0, skipped - len(piece))


def _patience(console: Console) -> Patience:
    return Patience(FIRST_CONTACT_SECONDS, console.note)
