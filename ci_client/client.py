"""The server's HTTP calls as typed methods: each is one try, or raises one of `problems`.

Thin on purpose: what is tried again, how often, and what is said meanwhile, is decided by the callers.
A client may be used by several threads.
"""

import json
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote, urlencode

from ci_client.answers import Answer, not_ours, problem_of
from ci_client.connection import open_transport
from ci_client.problems import InternalFault, Transient
from ci_client.settings import Settings
from ci_client.transport import SILENCE_SECONDS, Reply, Request
from ci_client.uploading import RowOfDigests, Upload
from ci_client.wire import (
    Account,
    JobView,
    JsonObject,
    Malformed,
    account,
    is_array,
    job_view,
    json_value,
    missing_places,
)

_LONGEST_ERROR_BYTES = 64 << 10
_ACCEPTANCE_SECONDS = 3600.0
"""Behind a large upload the server checks all of it before it answers, perhaps after others' uploads."""

Value = TypeVar("Value")


class ServerClient:
    """One server, one key."""

    def __init__(
        self, settings: Settings, key: str | None, *, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        self._settings = settings
        self._silence_seconds = silence_seconds
        self._transport = open_transport(settings, key)

    def close(self) -> None:
        """Close the connections that wait for use."""
        self._transport.close()

    def me(self) -> Account:
        """Who the key belongs to."""
        return _understood(account, self._json("GET", "/me"))

    def job(self, job: str, *, timing: bool = False) -> JobView:
        """One job, by its id or the beginning of it; with `timing`, when its phases were."""
        query = "?timing=true" if timing else ""
        return _understood(job_view, self._json("GET", f"/jobs/{quote(job, safe='')}{query}"))

    def jobs(self, limit: int, before: str | None = None, status: str | None = None) -> list[JobView]:
        """A page of the caller's jobs, newest first."""
        parameters = {"limit": str(limit), "before": before, "status": status}
        query = urlencode({name: text for name, text in parameters.items() if text})
        value = self._json("GET", f"/jobs?{query}")
        if not is_array(value):
            raise InternalFault("the server's list of jobs is none; are client and server of one version?")
        return [_understood(job_view, item) for item in value]

    def cancel(self, job: str) -> JobView:
        """Ask for cancellation; the job as it is then."""
        return _understood(job_view, self._json("POST", f"/jobs/{quote(job, safe='')}/cancel"))

    def is_healthy(self) -> tuple[str, float]:
        """The server's `Date` header, and how long the answer took in seconds."""
        began = time.monotonic()
        with self._answered(Request("GET", "/health"), "application/json") as reply:
            return reply.headers.get("date", ""), time.monotonic() - began

    def held(self, digests: Collection[bytes]) -> Collection[bytes]:
        """Those of the SHA-256 digests whose contents the server has from the caller's submissions."""
        asked = sorted(digests)
        request = Request(
            "POST",
            "/contents/missing",
            {"Content-Type": "application/octet-stream"},
            body=RowOfDigests(asked),
        )
        missing = _understood(missing_places, self._asked(request))
        return set(asked).difference(asked[place] for place in missing if 0 <= place < len(asked))

    def submit(self, upload: Upload) -> None:
        """Send an archive; it is a job when this returns. May be repeated: the job's id tells."""
        request = Request(
            "POST", "/submit-async", upload.headers, body=upload, silence_seconds=_ACCEPTANCE_SECONDS
        )
        with self._answered(request, "application/json") as reply:
            self._read(reply)

    @contextmanager
    def events(self, job_id: str, after: int | None) -> Generator[Iterator[bytes]]:
        """The job's event stream behind event `after`, or from the present on."""
        parameters = {"from_beginning": "false"} if after is None else {"after": str(after)}
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        path = f"/jobs/{job_id}/stream?{urlencode(parameters)}"
        request = Request("GET", path, headers, silence_seconds=self._silence_seconds)
        with self._answered(request, "text/event-stream") as reply:
            yield reply.pieces

    @contextmanager
    def logs(self, job_id: str, *, everything: bool) -> Generator[Iterator[bytes]]:
        """The job's output so far as bytes, the installer's included or not."""
        path = f"/jobs/{job_id}/logs{'?phase=all' if everything else ''}"
        request = Request("GET", path, silence_seconds=self._silence_seconds)
        with self._answered(request, "text/plain") as reply:
            yield reply.pieces

    def _json(self, method: str, path: str) -> object:
        return self._asked(Request(method, path))

    def _asked(self, request: Request) -> object:
        with self._answered(request, "application/json") as reply:
            content = self._read(reply)
        try:
            return json_value(content)
        except Malformed:
            raise Transient(f"{self._settings.server} sent an answer that is cut off") from None

    @staticmethod
    def _read(reply: Reply) -> bytes:
        return b"".join(reply.pieces)

    @contextmanager
    def _answered(self, request: Request, content_type: str) -> Generator[Reply]:
        """The reply, if it is the one that was wanted; else what it means is raised."""
        with self._transport.exchange(request) as reply:
            if not 200 <= reply.status < 300:
                raise self._problem(request, reply)
            found = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
            if found != content_type:
                raise not_ours(self._settings.server, found)
            yield reply

    def _problem(self, request: Request, reply: Reply) -> Exception:
        body = b""
        for piece in reply.pieces:
            body += piece
            if len(body) > _LONGEST_ERROR_BYTES:
                break
        sent_bytes = 0 if request.body is None else request.body.size_bytes
        return problem_of(Answer(reply.status, reply.headers, body, self._settings.server, sent_bytes))


def options_json(options: JsonObject) -> bytes:
    """The `options` part of a submission, pure ASCII."""
    return json.dumps(options).encode("ascii")


def _understood(parse: Callable[[object], Value], value: object) -> Value:
    try:
        return parse(value)
    except Malformed as error:
        raise InternalFault(
            f"the server's answer makes no sense ({error}); are client and server of one version?"
        ) from None
