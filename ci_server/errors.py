"""How failures become answers: always `{"detail": …}`, with the status that fits.

Where clients act upon one, a `code` stands beside it.
"""

import logging
from collections.abc import Callable

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from ci_common.content_store import ContentsGone
from ci_common.errors import (
    AlreadyExists,
    BundleRejected,
    CIError,
    InvalidInput,
    NotFound,
    NotPermitted,
    SchemaMismatch,
    StorageBusy,
    StorageFull,
)
from ci_server.schemas import fault_line

_log = logging.getLogger(__name__)


class UploadRefused(CIError):
    """The upload can't be taken, for a reason with a status of its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Ambiguous(CIError):
    """A prefix that several jobs share."""


class NotReady(CIError):
    """The database can't be used yet."""


class TooMuchUnfinished(CIError):
    """The caller's unfinished jobs take all the room that one may have by naming contents."""


_STATUS: dict[type[CIError], int] = {
    BundleRejected: 400,
    NotPermitted: 401,
    NotFound: 404,
    AlreadyExists: 409,
    Ambiguous: 409,
    ContentsGone: 409,
    InvalidInput: 422,
    TooMuchUnfinished: 429,
    StorageBusy: 503,
    SchemaMismatch: 503,
    NotReady: 503,
    StorageFull: 507,
}
_CODE: dict[type[CIError], str] = {
    ContentsGone: "contents_gone",
    TooMuchUnfinished: "too_much_unfinished",
}
"""What clients act upon; they must not have to read sentences."""
_RETRY_SECONDS = "2"


def status_of(error: CIError) -> int:
    """The HTTP status that tells of `error`."""
    if isinstance(error, UploadRefused):
        return error.status
    for kind in type(error).__mro__:
        if issubclass(kind, CIError) and kind in _STATUS:
            return _STATUS[kind]
    return 500


def answer_to(error: CIError) -> JSONResponse:
    """The whole answer that tells of `error`."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = _RETRY_SECONDS
    content = {"detail": str(error)}
    if (code := _CODE.get(type(error))) is not None:
        content["code"] = code
    return JSONResponse(content, status_code=status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Let every failure of `app` be answered in the one form."""
    handlers: dict[type[Exception], Callable[[Request, Exception], JSONResponse]] = {
        CIError: _on_expected,
        RequestValidationError: _on_invalid_request,
        Exception: _on_unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _on_expected(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, CIError)
    if status_of(error) >= 500:
        _log.warning("%s %s: %s", request.method, request.url.path, error)
    return answer_to(error)


def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    lines = [fault_line(tuple(fault["loc"][1:]), fault["msg"]) for fault in error.errors()[:5]]
    return JSONResponse({"detail": "; ".join(lines)}, status_code=422)


def _on_unexpected(_request: Request, _error: Exception) -> JSONResponse:
    # The framework raises it again behind this answer, so that it is logged with its traceback.
    return JSONResponse({"detail": "internal error; the server's log says more"}, status_code=500)
