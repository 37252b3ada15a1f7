"""The server's HTTP calls as typed methods: each is one try, or raises one of `problems`.

Thin on purpose: what is tried again, how often, and what is said meanwhile, is decided by the callers.
A client may be used by several threads.
"""

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import quote

import httpx

from ci_client.answers import Answer, not_ours, problem_of
from ci_client.connection import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    named_failures,
    open_client,
)
from ci_client.problems import InternalFault, Transient
from ci_client.settings import Settings
from ci_client.uploading import Upload
from ci_client.wire import Account, JobView, JsonObject, Malformed, account, is_array, job_view, json_value

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
        self._key = key
        self._silence_seconds = silence_seconds
        self._http = open_client(settings, key)

    def close(self) -> None:
        """Close the connections that wait for use."""
        self._http.close()

    def me(self) -> Account:
        """Who the key belongs to."""
        return _understood(account, self._json("GET", "/me"))

    def job(self, job: str, *, timing: bool = False) -> JobView:
        """One job, by its id or the beginning of it; with `timing`, when its phases were."""
        parameters = {"timing": "true"} if timing else None
        return _understood(job_view, self._json("GET", f"/jobs/{quote(job, safe='')}", parameters))

    def jobs(self, limit: int, before: str | None = None, status: str | None = None) -> list[JobView]:
        """A page of the caller's jobs, newest first."""
        parameters = {"limit": str(limit), "before": before, "status": status}
        value = self._json("GET", "/jobs", {name: text for name, text in parameters.items() if text})
        if not is_array(value):
            raise InternalFault("the server's list of jobs is none; are client and server of one version?")
        return [_understood(job_view, item) for item in value]

    def cancel(self, job: str) -> JobView:
        """Ask for cancellation; the job as it is then."""
        return _understood(job_view, self._json("POST", f"/jobs/{quote(job, safe='')}/cancel"))

    def is_healthy(self) -> tuple[str, float]:
        """The server's `Date` header, and how long the answer took in seconds."""
        with named_failures(self._settings):
            response = self._http.get(self._url("/health"))
        self._check(response, "application/json")
        return response.headers.get("date", ""), response.elapsed.total_seconds()

    def submit(self, upload: Upload) -> None:
        """Send an archive; it is a job when this returns. May be repeated: the job's id tells."""
        time_limit = httpx.Timeout(
            ANSWER_SECONDS, connect=CONNECT_SECONDS, read=_ACCEPTANCE_SECONDS, pool=None
        )
        if not upload.wants_own_connection:
            self._send(self._http, upload, time_limit)
            return
        with open_client(self._settings, self._key) as http:
            self._send(http, upload, time_limit)

    def _send(self, http: httpx.Client, upload: Upload, time_limit: httpx.Timeout) -> None:
        with named_failures(self._settings):
            response = http.post(
                self._url("/submit-async"),
                content=upload.chunks(),
                headers=upload.headers,
                timeout=time_limit,
                extensions={"trace": upload.trace},
            )
        self._check(response, "application/json", sent_bytes=upload.size_bytes)

    @contextmanager
    def events(self, job_id: str, after: int | None) -> Generator[Iterator[bytes]]:
        """The job's event stream behind event `after`, or from the present on."""
        parameters = {"from_beginning": "false"} if after is None else {"after": str(after)}
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        with self._stream(f"/jobs/{job_id}/stream", parameters, headers, "text/event-stream") as pieces:
            yield pieces

    @contextmanager
    def logs(self, job_id: str, *, everything: bool) -> Generator[Iterator[bytes]]:
        """The job's output so far as bytes, the installer's included or not."""
        parameters = {"phase": "all"} if everything else {}
        with self._stream(f"/jobs/{job_id}/logs", parameters, {}, "text/plain") as pieces:
            yield pieces

    @contextmanager
    def _stream(
        self, path: str, parameters: Mapping[str, str], headers: Mapping[str, str], content_type: str
    ) -> Generator[Iterator[bytes]]:
        time_limit = httpx.Timeout(
            ANSWER_SECONDS, connect=CONNECT_SECONDS, read=self._silence_seconds, pool=None
        )
        with (
            named_failures(self._settings),
            self._http.stream(
                "GET", self._url(path), params=parameters, headers=headers, timeout=time_limit
            ) as response,
        ):
            self._check(response, content_type)
            yield response.iter_bytes()

    def _json(self, method: str, path: str, parameters: Mapping[str, str] | None = None) -> object:
        with named_failures(self._settings):
            response = self._http.request(method, self._url(path), params=parameters)
        self._check(response, "application/json")
        try:
            return json_value(response.content)
        except Malformed:
            raise Transient(f"{self._settings.server} sent an answer that is cut off") from None

    def _url(self, path: str) -> str:
        return self._settings.server + path

    def _check(self, response: httpx.Response, content_type: str, *, sent_bytes: int = 0) -> None:
        """Raise what a bad answer means."""
        if response.is_success:
            found = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if found != content_type:
                raise not_ours(self._settings.server, found)
            return
        body = b""
        with named_failures(self._settings):
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _LONGEST_ERROR_BYTES:
                    break
        headers = {name.lower(): value for name, value in response.headers.items()}
        raise problem_of(Answer(response.status_code, headers, body, self._settings.server, sent_bytes))


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
