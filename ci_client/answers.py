"""Tells our server's answers from others', and turns the bad ones into problems with a next step. Pure.

Between client and server there may be proxies, each with answers of its own: a size limit, a gateway that
finds nobody, a log-in page. Ours are JSON objects with `detail`; all else is somebody else's and is named
so, with the setting to change.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ci_client.problems import (
    BadUse,
    ClientError,
    ContentsMissing,
    InternalFault,
    KeyRefused,
    NoSuchJob,
    Transient,
    Unreachable,
)
from ci_client.wire import Malformed, is_object, json_value, text_of

_LONGEST_RETRY_AFTER_SECONDS = 60.0
_GATEWAY_ANSWERS = frozenset({408, 425, 429, 502, 503, 504, 520, 521, 522, 523, 524})
"""What goes away by itself, whoever says it."""
_CONTENTS_GONE = "contents_gone"
_TOO_MUCH_UNFINISHED = "too_much_unfinished"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that isn't the one that was wanted."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    """Its beginning is enough."""
    server: str
    """The address that was asked, for the message."""
    sent_bytes: int = 0
    """Size of the body that was sent."""

    @property
    def detail(self) -> str | None:
        """Our server's explanation; None in an answer that isn't ours."""
        return self._text("detail")

    @property
    def code(self) -> str | None:
        """By which our server marks what is acted upon."""
        return self._text("code")

    def _text(self, name: str) -> str | None:
        try:
            value = json_value(self.body)
        except Malformed:
            return None
        return text_of(value, name) if is_object(value) else None


def problem_of(answer: Answer) -> ClientError:
    """What an answer means for the command."""
    detail = answer.detail
    if answer.code == _TOO_MUCH_UNFINISHED:
        return Unreachable(f"the server takes no more of yours at present: {detail}")
    if answer.status in _GATEWAY_ANSWERS:
        said = f": {detail}" if detail else ", and that wasn't the ci server itself"
        return Transient(f"{answer.server} answered {answer.status}{said}", _retry_after(answer))
    return _others(answer) if detail is None else _ours(answer, detail)


def _ours(answer: Answer, detail: str) -> ClientError:
    if answer.status in {401, 403}:
        return KeyRefused(
            f"the server refuses the API key: {detail}; check --api-key, CI_API_KEY or the config file, "
            "or ask an administrator for a new one"
        )
    if answer.status == 404:
        if detail == "Not Found":  # the framework's own: the path is unknown, not the job
            return Unreachable(
                f"the server at {answer.server} doesn't know this call; check the path in CI_API_URL, "
                "and whether client and server are of one version"
            )
        return NoSuchJob(f"{detail}; `ci list` shows yours")
    if answer.code == _CONTENTS_GONE:
        return ContentsMissing(f"the server refuses this: {detail}")
    if answer.status == 507:
        return Unreachable(f"the server has no room: {detail}; tell its administrator, or try later")
    if answer.status >= 500:
        return InternalFault(f"the server failed ({answer.status}): {detail}")
    return BadUse(f"the server refuses this: {detail}")


def _others(answer: Answer) -> ClientError:
    proxy = f"something between here and the ci server ({answer.server}) answered {answer.status}"
    if answer.status == 500:
        return Transient(f"{proxy}; the server's log may say why")
    if 300 <= answer.status < 400:
        goal = answer.headers.get("location", "elsewhere")
        return Unreachable(
            f"{answer.server} redirects to {goal}; set CI_API_URL or --server to where the server is"
        )
    refused = "it refuses before the ci server is asked; check CI_API_URL and the proxy settings"
    explanations = {
        401: refused,
        403: refused,
        404: "there is no ci server; check CI_API_URL or --server, path included",
        407: "the proxy wants a user name; put it into HTTPS_PROXY, or except the server with NO_PROXY",
        413: (
            f"an upload of {answer.sent_bytes / 1e6:.1f} MB is too large for it; raise its limit (nginx: "
            "client_max_body_size), or leave files out with .ciignore"
        ),
    }
    explanation = explanations.get(answer.status, "check CI_API_URL or --server, and the proxy in between")
    return Unreachable(f"{proxy}: {explanation}")


def not_ours(server: str, content_type: str) -> Unreachable:
    """A success that can't be the server's."""
    what = "a web page" if "html" in content_type else f"{content_type or 'something without a type'}"
    return Unreachable(
        f"{server} answered with {what} where the ci server would answer otherwise; "
        "check CI_API_URL or --server, and whether a proxy wants you to log in"
    )


def _retry_after(answer: Answer) -> float | None:
    text = answer.headers.get("retry-after", "")
    return min(float(text), _LONGEST_RETRY_AFTER_SECONDS) if text.isdecimal() else None
