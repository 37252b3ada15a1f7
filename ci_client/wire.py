"""The server's JSON as typed values. Pure.

Lenient where the interface asks for it: names that this version doesn't know are kept or ignored; only
what is needed must be there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeGuard

from ci_common.clock import from_iso

JsonObject = Mapping[str, object]


class Malformed(ValueError):
    """It isn't what the interface promises."""


def is_object(value: object) -> TypeGuard[JsonObject]:
    """Whether `value` came from a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[object]]:
    """Whether `value` came from a JSON array."""
    return isinstance(value, list)


def json_value(text: bytes | str) -> object:
    """What `text` says.

    Raises:
        Malformed: it is no JSON.
    """
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from None
    return value


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as the server shows it."""

    raw: JsonObject
    """As it came, for `--json`."""
    job_id: str
    status: str
    outcome: str | None
    reason: str | None
    exit_code: int | None
    submit_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    attempt: int
    cancel_requested: bool
    waiting: str | None

    @property
    def is_completed(self) -> bool:
        """Whether there will be no more events."""
        return self.status == "completed"

    @property
    def success(self) -> bool | None:
        """None until completed."""
        return None if self.outcome is None else self.outcome == "passed"


def job_view(value: object) -> JobView:
    """A job.

    Raises:
        Malformed: it is none.
    """
    if not is_object(value):
        raise Malformed("a job is not an object")
    job_id, status = text_of(value, "job_id"), text_of(value, "status")
    if job_id is None or status is None:
        raise Malformed("a job without id or status")
    return JobView(
        raw=value,
        job_id=job_id,
        status=status,
        outcome=text_of(value, "outcome"),
        reason=text_of(value, "reason"),
        exit_code=number_of(value, "exit_code"),
        submit_time=moment_of(value, "submit_time"),
        start_time=moment_of(value, "start_time"),
        end_time=moment_of(value, "end_time"),
        attempt=number_of(value, "attempt") or 1,
        cancel_requested=value.get("cancel_requested") is True,
        waiting=text_of(value, "waiting"),
    )


@dataclass(frozen=True, slots=True)
class Account:
    """Who the key belongs to, and what the server allows."""

    user_name: str
    email: str
    key_name: str
    server_version: str
    server_time: datetime | None
    max_upload_bytes: int | None
    max_bundle_entries: int | None


def account(value: object) -> Account:
    """The answer to `GET /me`.

    Raises:
        Malformed: it is no object.
    """
    if not is_object(value):
        raise Malformed("an account is not an object")
    user, key, limits = _object_of(value, "user"), _object_of(value, "key"), _object_of(value, "limits")
    return Account(
        user_name=text_of(user, "name") or "?",
        email=text_of(user, "email") or "?",
        key_name=text_of(key, "name") or "?",
        server_version=text_of(value, "server_version") or "?",
        server_time=moment_of(value, "server_time"),
        max_upload_bytes=number_of(limits, "max_upload_bytes"),
        max_bundle_entries=number_of(limits, "max_bundle_entries"),
    )


def missing_places(value: object) -> list[int]:
    """The answer to `POST /contents/missing`.

    Raises:
        Malformed: it is none.
    """
    places = value.get("missing") if is_object(value) else None
    if not is_array(places):
        raise Malformed("no list of missing contents")
    return [place for place in places if isinstance(place, int)]


@dataclass(frozen=True, slots=True)
class Completion:
    """How a job has ended: what a `complete` event or a completed job says."""

    outcome: str
    exit_code: int | None
    reason: str | None


def completion(value: object) -> Completion:
    """From a `complete` event's data.

    Raises:
        Malformed: it names no outcome.
    """
    outcome = text_of(value, "outcome") if is_object(value) else None
    if outcome is None or not is_object(value):
        raise Malformed("an end without an outcome")
    return Completion(outcome, number_of(value, "exit_code"), text_of(value, "reason"))


def completion_of(job: JobView) -> Completion:
    """From a completed job."""
    assert job.outcome is not None, f"job {job.job_id} has not completed"
    return Completion(job.outcome, job.exit_code, job.reason)


def text_of(value: JsonObject, name: str) -> str | None:
    """The text under `name`, if there is one."""
    found = value.get(name)
    return found if isinstance(found, str) else None


def number_of(value: JsonObject, name: str) -> int | None:
    """The whole number under `name`, if there is one."""
    found = value.get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _object_of(value: JsonObject, name: str) -> JsonObject:
    found = value.get(name)
    return found if is_object(found) else {}


def moment_of(value: JsonObject, name: str) -> datetime | None:
    """The time under `name`, if there is one."""
    text = text_of(value, name)
    if text is None:
        return None
    try:
        return from_iso(text)
    except ValueError:
        return None
