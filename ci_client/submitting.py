"""`ci submit test`: pack, send, follow; and what a signal means meanwhile.

The work runs in a thread, the main thread waits (`interrupts`). The job's id is made here before
anything is sent, so that a try may be repeated and the job cancelled at any time.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_client import bundling, digest_cache
from ci_client.archive import SMALL_BYTES
from ci_client.bundling import Archive, size_text
from ci_client.client import ServerClient, options_json
from ci_client.interrupts import Task, Waiter
from ci_client.moments import Moments
from ci_client.problems import (
    BadUse,
    ClientError,
    ContentsMissing,
    KeyRefused,
    NoSuchJob,
    Transient,
    Unreachable,
)
from ci_client.retrying import FIRST_CONTACT_SECONDS, Patience, persistently
from ci_client.settings import Settings
from ci_client.terminal import Console
from ci_client.uploading import SendingState, Upload
from ci_client.wire import Account, Completion, JobView, completion_of
from ci_common.ids import JobId, new_job_id

_CUTS_WHILE_SENDING = 5
_NO_JOB_YET_SECONDS = 60.0
"""How long a server that was there a moment ago is waited for while no job can exist."""
_CANCEL_SECONDS = 20.0
_CANCEL_EVERY_SECONDS = 0.2
_UNSEEN_SECONDS = 5.0
"""How long a server may take to make a job of a body that it has received whole."""
_END_AFTER_CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    path: str
    pytest_args: Sequence[str] | None
    is_async: bool
    fresh: bool
    verbose: bool
    at_end: Callable[[ServerClient, JobId, Moments], None] | None
    """What else is told behind the job's end."""


def submit(settings: Settings, console: Console, request: Request) -> int:
    """Do it; the exit code.

    Raises:
        ClientError: it couldn't be done.
    """
    key = settings.required_key()
    waiter = Waiter()
    with waiter.listening():
        submission = _Submission(settings, key, console, request)
        task = Task(submission.run, waiter)
        waiter.wait(lambda: task.ended or waiter.signal is not None)
        if waiter.signal is None:
            return task.result()
        return _interrupted(waiter, submission, task, console)


class _Submission:
    """One submission on its way."""

    def __init__(self, settings: Settings, key: str, console: Console, request: Request) -> None:
        self._settings = settings
        self._console = console
        self._request = request
        self._key = key
        self._client = ServerClient(settings, key)
        self._moments = Moments()
        self.job_id: JobId = new_job_id()
        self.sending = SendingState()
        self._first_contact: Task[Account] | None = None
        self.end: Completion | None = None
        """How the job has ended, once that is known."""

    def run(self) -> int:
        """All of it, in the working thread; the exit code."""
        root = bundling.project_root(self._request.path)
        bundling.check_requirements(root)
        arguments = _checked_arguments(self._request.pytest_args)
        self._moments.mark("packing_began")
        archive = bundling.pack(root, self._check_on, self._packed, self._held)
        self._moments.mark("packed")
        try:
            self._send_archive(archive, root, arguments)
        except ContentsMissing:
            self.sending.refused()
            archive = bundling.pack(root, self._check_on, self._packed)
            self._send_archive(archive, root, arguments)
        self._moments.mark("accepted")
        if archive.has_news:
            digest_cache.save(root, archive.digests)
        return self._go_on()

    def _send_archive(self, archive: Archive, root: Path, arguments: Sequence[str] | None) -> None:
        with archive.file:
            self._tell_what_goes(archive, root)
            if archive.size_bytes > SMALL_BYTES:
                self._meet_server()
            if self._first_contact is not None:
                _check_limits(archive, self._first_contact.result())
            self._moments.mark("sending_began")
            self._send(self._upload(archive, arguments))

    def _held(self, digests: Collection[bytes]) -> Collection[bytes]:
        """The contents that need only be named; none where the server can't tell."""
        self._console.progress("comparing with what the server has")
        try:
            return self._client.held(digests)
        except KeyRefused:
            raise
        except ClientError:
            return ()

    def _check_on(self) -> None:
        """Nobody has interrupted it, and nothing that runs beside it has failed."""
        self.sending.check()
        if self._first_contact is not None and self._first_contact.failed:
            self._first_contact.result()

    def _packed(self, number: int, count: int, read_bytes: int) -> None:
        self._console.progress(f"packing: {number} of {count} files, {size_text(read_bytes)}")
        if read_bytes > SMALL_BYTES:
            self._meet_server()

    def _meet_server(self) -> None:
        """Have the key checked beside the packing, and before much is sent; of little, sending tells it."""
        if self._first_contact is None:
            self._first_contact = Task(self._account)

    def _account(self) -> Account:
        patience = Patience(FIRST_CONTACT_SECONDS, self._console.note, pause=self._pause)
        return persistently(self._client.me, patience)

    def _pause(self, seconds: float) -> None:
        self.sending.check()
        time.sleep(seconds)
        self.sending.check()

    def _tell_what_goes(self, archive: Archive, root: Path) -> None:
        for remark in bundling.shown_remarks(archive.remarks):
            self._console.note(remark)
        if self._request.verbose:
            for line in bundling.left_out_by_rule(root, archive.left_out):
                self._console.note(line)
            unchanged = f", {archive.reference_count} of them by name" if archive.reference_count else ""
            self._console.note(
                f"sending {archive.entry_count} entries{unchanged}, {size_text(archive.size_bytes)}"
            )
        elif (summary := bundling.left_out_summary(archive.left_out)) is not None:
            self._console.note(summary)

    def _upload(self, archive: Archive, arguments: Sequence[str] | None) -> Upload:
        watched = not self._request.is_async
        options = {
            "pytest_args": None if arguments is None else list(arguments),
            "color": watched and self._console.out_has_colour,
            "columns": self._console.columns() if watched else None,
            "fresh": self._request.fresh,
        }
        total = size_text(archive.size_bytes)
        return Upload(
            job_id=self.job_id,
            archive=archive.file,
            archive_bytes=archive.size_bytes,
            options=options_json(options),
            state=self.sending,
            wants_kept=bool(archive.digests),
            progress=lambda sent_bytes: self._console.progress(
                f"sending: {size_text(sent_bytes)} of {total}"
            ),
        )

    def _send(self, upload: Upload) -> None:
        say, limit = self._console.note, self._settings.retry_seconds
        unsent_seconds = FIRST_CONTACT_SECONDS if self._first_contact is None else _NO_JOB_YET_SECONDS
        while_unsent = Patience(min(limit, unsent_seconds), say, pause=self._pause)
        while_unsure = Patience(limit, say, pause=self._pause)
        cuts = 0
        while True:
            try:
                self._client.submit(upload)
            except Transient as problem:
                if self.sending.may_exist:
                    self._wait_unsure(while_unsure, problem)
                    continue
                cuts += self._count_cut(upload, problem, cuts)
                while_unsent.wait(problem)
            else:
                return

    def _count_cut(self, upload: Upload, problem: Transient, cuts_before: int) -> int:
        """1 where the connection was cut while sending; gives up when that happens again and again."""
        if not upload.sent_bytes:
            return 0
        sent = f"{problem} after {size_text(upload.sent_bytes)} of {size_text(upload.size_bytes)} were sent"
        if cuts_before + 1 >= _CUTS_WHILE_SENDING:
            raise Unreachable(
                f"{sent}, the {_CUTS_WHILE_SENDING}th time; no job was made. A proxy in between "
                "may limit size or time (nginx: client_max_body_size, client_body_timeout)"
            ) from problem
        self._console.note(f"{sent}; sending again")
        return 1

    def _wait_unsure(self, patience: Patience, problem: Transient) -> None:
        try:
            patience.wait(problem)
        except Unreachable as error:
            raise Unreachable(
                f"{error}; whether the job exists is not known, see: ci status {self.job_id}"
            ) from error

    def _go_on(self) -> int:
        if self._request.is_async:
            self._console.answer(f"Job submitted: {self.job_id}")
            return 0
        self._console.plain_line(f"Job ID: {self.job_id}")
        began = time.monotonic()
        from ci_client.results import tell_end  # noqa: PLC0415 - while the server is about to start the job
        from ci_client.watching import follow  # noqa: PLC0415 - as above

        self.end = follow(
            self._settings, self._client, self._console, self.job_id, after=0, moments=self._moments
        )
        self._moments.mark("end_shown")
        exit_code = tell_end(self._console, self.end, time.monotonic() - began)
        if self._request.at_end is not None:
            self._request.at_end(self._client, self.job_id, self._moments)
        return exit_code

    def cancel(self, sender_has_ended: "Task[int]") -> JobView | None:
        """Cancel until it is certain; None where no job has come of it."""
        client = ServerClient(self._settings, self._key)
        began = time.monotonic()
        ended: float | None = None
        while True:
            now = time.monotonic()
            try:
                return client.cancel(self.job_id)
            except NoSuchJob:
                ended = now if ended is None and sender_has_ended.ended else ended
                if ended is not None and now - ended > _UNSEEN_SECONDS:
                    return None
            except Transient as problem:
                if now - began > _CANCEL_SECONDS:
                    raise Unreachable(
                        f"{problem}; the job may go on, cancel it with: ci cancel {self.job_id}"
                    ) from problem
            except ClientError as problem:
                raise type(problem)(f"{problem}; the job may go on: ci cancel {self.job_id}") from problem
            time.sleep(_CANCEL_EVERY_SECONDS)


def _interrupted(waiter: Waiter, submission: _Submission, task: Task[int], console: Console) -> int:
    """A signal has arrived: see that there is no job, or that it is cancelled."""
    from ci_client.results import tell_end  # noqa: PLC0415 - not needed otherwise before the job exists
    from ci_common.models import Outcome  # noqa: PLC0415 - as above

    may_exist = submission.sending.stop()
    end = submission.end
    console.interrupted()
    if end is None and may_exist:
        console.note("cancelling; once more leaves at once")
        cancel = Task(lambda: submission.cancel(task), waiter)
        waiter.wait(lambda: cancel.ended)
        job = cancel.result()
        if job is not None:
            # The job's last words still belong on the screen.
            waiter.wait(lambda: task.ended, _END_AFTER_CANCEL_SECONDS)
        end = submission.end or (completion_of(job) if job is not None and job.is_completed else None)
    if end is not None and end.outcome != Outcome.CANCELLED:
        tell_end(console, end, None)  # it was quicker than the signal
        return waiter.exit_code
    console.finish_output()
    console.failure(
        f"cancelled (job {submission.job_id})" if may_exist else "cancelled; nothing was submitted"
    )
    return waiter.exit_code


def _checked_arguments(arguments: Sequence[str] | None) -> Sequence[str] | None:
    for argument in arguments or ():
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise BadUse(f"the argument {argument!r} isn't UTF-8 and can't be sent") from None
    return arguments


def _check_limits(archive: Archive, account: Account) -> None:
    limit_bytes = account.max_upload_bytes
    if limit_bytes is not None and archive.size_bytes > limit_bytes:
        raise BadUse(
            f"the archive of the project has {size_text(archive.size_bytes)}, the server takes "
            f"{size_text(limit_bytes)}; leave files out with .ciignore"
        )
    entries = account.max_bundle_entries
    if entries is not None and archive.entry_count > entries:
        raise BadUse(
            f"the project has {archive.entry_count} files, the server takes {entries}; "
            "leave some out with .ciignore"
        )
