"""HTTP through proxies, by a library that knows them all; imported where one is set, since that is slow.

Here nothing is heard while a body is sent: the proxy's answer, or the server's, ends it when the
connection does.
"""

import sys
import types
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ci_client import transport
from ci_client.problems import BadUse, Transient, Unreachable, cause_of
from ci_client.settings import Settings
from ci_client.transport import ANSWER_SECONDS, CONNECT_SECONDS, Reply, Request, Transport

if TYPE_CHECKING:
    import ssl

# The library imports its command line, and with it two large packages, where they happen to be installed.
# The name is all that it needs; whoever has imported the real one before keeps it.
_stub = types.ModuleType("httpx._main")
_stub.__dict__["main"] = lambda: None
sys.modules.setdefault(_stub.__name__, _stub)

import httpx  # noqa: E402 - see above


class ProxiedTransport(Transport):
    """The proxies that the environment names lead to one server."""

    def __init__(self, settings: Settings, headers: Mapping[str, str], tls: "ssl.SSLContext") -> None:
        """Prepare it.

        Raises:
            BadUse: the proxies can't be used as they are set.
        """
        self._settings = settings
        try:
            self._http = httpx.Client(
                headers=dict(headers),
                verify=tls,
                timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None),
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            raise BadUse(
                f"the proxy settings (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) can't be used: {error}"
            ) from error

    @contextmanager
    def exchange(self, request: Request) -> Generator[Reply]:
        headers = dict(request.headers)
        if request.body is not None:
            headers["Content-Length"] = str(request.body.size_bytes)
        time_limit = httpx.Timeout(
            ANSWER_SECONDS, connect=CONNECT_SECONDS, read=request.silence_seconds, pool=None
        )
        with (
            self._named_failures(),
            self._http.stream(
                request.method,
                self._settings.server + request.path,
                headers=headers,
                content=None if request.body is None else request.body.chunks(),
                timeout=time_limit,
            ) as response,
        ):
            found = {name.lower(): value for name, value in response.headers.items()}
            yield Reply(response.status_code, found, self._pieces(response))

    def close(self) -> None:
        self._http.close()

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        with self._named_failures():
            yield from response.iter_raw()

    @contextmanager
    def _named_failures(self) -> Generator[None]:
        settings = self._settings
        try:
            yield
        except httpx.ConnectTimeout:
            raise transport.no_answer(settings) from None
        except httpx.ProxyError as error:
            raise Transient(
                f"the proxy on the way to {settings.server} refused: {error}; "
                "check HTTP(S)_PROXY and NO_PROXY"
            ) from error
        except httpx.ConnectError as error:
            raise _no_connection(settings, error) from error
        except httpx.ReadTimeout:
            raise transport.fell_silent(settings) from None
        except httpx.WriteTimeout:
            raise transport.takes_no_more(settings) from None
        except httpx.TransportError as error:
            raise transport.broke(settings, _root_cause(error)) from error
        except (httpx.InvalidURL, httpx.RequestError) as error:
            raise transport.not_http(settings, str(error)) from error


def _no_connection(settings: Settings, error: httpx.TransportError) -> Unreachable:
    import socket  # noqa: PLC0415 - loaded by now
    import ssl  # noqa: PLC0415 - loaded by now

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return transport.not_trusted(settings, cause.verify_message)
        if isinstance(cause, ssl.SSLError):
            return transport.no_tls(settings, cause.reason or str(cause))
        if isinstance(cause, socket.gaierror):
            return Transient(
                f"no such host on the way to {settings.server} (from {settings.server_source}); "
                "check the server's address and the proxies'"
            )
        cause = cause.__cause__ or cause.__context__
    return transport.cant_connect(settings, _root_cause(error))


def _root_cause(error: BaseException) -> str:
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    if isinstance(cause, OSError):
        return cause_of(cause)
    return str(cause) or type(cause).__name__
