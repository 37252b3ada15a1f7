"""Following jobs that exist: `ci wait`, and the second half of `ci submit test`."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from ci_client.client import ServerClient
from ci_client.following import Follower, Listener
from ci_client.inspecting import resolve
from ci_client.interrupts import Task, Waiter
from ci_client.moments import Moments
from ci_client.problems import ClientError, NoSuchJob, OutputClosed
from ci_client.results import Show, seconds_of, tell_end
from ci_client.retrying import Patience
from ci_client.settings import Settings
from ci_client.terminal import Console
from ci_client.wire import Completion, completion_of
from ci_common.models import Phase


def follow(
    settings: Settings,
    client: ServerClient,
    console: Console,
    job_id: str,
    *,
    after: int | None,
    moments: Moments,
) -> Completion:
    """Show a job until its end; `moments` notes what was shown when.

    Raises:
        ClientError: that couldn't be done; the message says how to come back.
    """
    patience = Patience(settings.retry_seconds, console.note)

    @contextmanager
    def open_stream(position: int | None) -> Generator[Iterator[bytes]]:
        with client.events(job_id, position) as pieces:
            moments.mark("following")
            yield pieces

    follower = Follower(open_stream, _Noting(Show(console), moments), patience, after=after)
    try:
        return follower.run()
    except NoSuchJob:
        raise
    except ClientError as error:
        console.finish_output()
        kind = OutputClosed if isinstance(error, OutputClosed) else type(error)
        raise kind(f"{error}; the job goes on, come back to it with: ci wait {job_id}") from error


def wait(settings: Settings, console: Console, job: str, *, from_start: bool) -> int:
    """`ci wait`; the exit code.

    Raises:
        ClientError: it couldn't be done.
    """
    waiting = _Waiting(settings, console, job, from_start=from_start)
    waiter = Waiter()
    with waiter.listening():
        task = Task(waiting.run, waiter)
        waiter.wait(lambda: task.ended or waiter.signal is not None)
        if waiter.signal is None:
            return task.result()
    console.interrupted()
    console.finish_output()
    console.note(
        f"Stopped waiting; job {waiting.job} continues to run. Come back with: ci wait {waiting.job}"
    )
    return waiter.exit_code


class _Noting:
    """A listener that notes when another one has shown the first of the tests' output."""

    def __init__(self, listener: Listener, moments: Moments) -> None:
        self._listener = listener
        self._moments = moments

    def output(self, phase: str, text: str) -> None:
        self._listener.output(phase, text)
        if phase == Phase.TEST:
            self._moments.mark("output_shown")

    def notice(self, text: str) -> None:
        self._listener.notice(text)


class _Waiting:
    def __init__(self, settings: Settings, console: Console, job: str, *, from_start: bool) -> None:
        self._settings = settings
        self._console = console
        self._from_start = from_start
        self._client = ServerClient(settings, settings.required_key())
        self.job = job
        """As the user has named it, then its whole id."""

    def run(self) -> int:
        job = resolve(self._client, self._console, self.job)
        self.job = job.job_id
        if job.is_completed and not self._from_start:
            self._console.plain_line("Job already completed")
            return tell_end(self._console, completion_of(job), seconds_of(job))
        after = 0 if self._from_start else None
        end = follow(self._settings, self._client, self._console, job.job_id, after=after, moments=Moments())
        return tell_end(self._console, end, self._seconds())

    def _seconds(self) -> float | None:
        try:
            return seconds_of(self._client.job(self.job))
        except ClientError:
            return None  # how it has ended is known; how long it took is a courtesy
