"""HTTP straight to the server, with or without TLS: requests over a socket, answers by the standard library.

It listens while it sends: an answer that comes before the end of a body (a wrong key, a size limit) ends
the sending, instead of pushing gigabytes into a connection whose other side has made up its mind. Interim
answers (100 and the like), which nobody asks for here, end nothing. Beneath TLS there are bytes that are no
answer, session tickets for one; there the sending ends with the connection.

Connections are kept for the next exchange; one whose other side has closed it, or speaks unasked, is not.
"""

import http.client
import select
import socket
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ci_client import transport
from ci_client.problems import Unreachable, cause_of
from ci_client.settings import Settings
from ci_client.transport import ANSWER_SECONDS, CONNECT_SECONDS, Body, Reply, Request, Transport

if TYPE_CHECKING:
    import ssl

_RECEIVED_BYTES = 256 << 10
_LONGEST_HEAD_BYTES = 64 << 10
_KEPT_SECONDS = 4.0
"""Servers close connections that have been idle for about five seconds."""


class DirectTransport(Transport):
    """Connections to one server."""

    def __init__(
        self, settings: Settings, headers: Mapping[str, str], tls: "ssl.SSLContext | None" = None
    ) -> None:
        parts = urlsplit(settings.server)
        assert parts.hostname is not None, "the settings have been checked"
        self._settings = settings
        self._tls = tls
        self._host = parts.hostname
        self._port = parts.port or (80 if tls is None else 443)
        self._prefix = quote(parts.path, safe="/%:@!$&'()*+,;=~")
        self._headers = {"Host": _host_header(parts.hostname, parts.port), **headers}
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    @contextmanager
    def exchange(self, request: Request) -> Generator[Reply]:
        connection = self._connection()
        may_go_on = False
        try:
            with self._named_failures():
                sent_all = connection.send(self._head(request), request.body)
                answer = connection.answer(request)
            headers = {name.lower(): value for name, value in answer.getheaders()}
            yield Reply(answer.status, headers, self._pieces(answer))
            may_go_on = sent_all and answer.isclosed() and not answer.will_close
        finally:
            if may_go_on:
                self._keep(connection)
            else:
                connection.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _head(self, request: Request) -> bytes:
        lines = [f"{request.method} {self._prefix}{request.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (self._headers | dict(request.headers)).items()]
        if request.body is not None:
            lines.append(f"Content-Length: {request.body.size_bytes}")
        elif request.method == "POST":
            lines.append("Content-Length: 0")
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        with self._named_failures():
            while piece := answer.read1(_RECEIVED_BYTES):
                yield piece
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)

    def _connection(self) -> "_Connection":
        while True:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            if kept is None:
                break
            if kept.is_fresh():
                return kept
            kept.close()
        return _Connection(self._connected(), listens=self._tls is None)

    def _keep(self, connection: "_Connection") -> None:
        connection.kept_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)

    def _connected(self) -> socket.socket:
        try:
            connected = socket.create_connection((self._host, self._port), CONNECT_SECONDS)
        except TimeoutError:
            raise transport.no_answer(self._settings) from None
        except (socket.gaierror, UnicodeError) as error:
            raise transport.no_such_host(self._settings, self._host) from error
        except OSError as error:
            raise transport.cant_connect(self._settings, cause_of(error)) from error
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected if self._tls is None else self._secured(connected, self._tls)

    def _secured(self, connected: socket.socket, tls: "ssl.SSLContext") -> socket.socket:
        import ssl  # noqa: PLC0415 - its import takes time, and plain HTTP doesn't need it

        try:
            return tls.wrap_socket(connected, server_hostname=self._host)
        except ssl.SSLCertVerificationError as error:
            fault: Unreachable = transport.not_trusted(self._settings, error.verify_message)
        except ssl.SSLError as error:
            fault = transport.no_tls(self._settings, error.reason or str(error))
        except TimeoutError:
            fault = transport.no_answer(self._settings)
        except OSError as error:
            fault = transport.cant_connect(self._settings, cause_of(error))
        connected.close()
        raise fault

    @contextmanager
    def _named_failures(self) -> Generator[None]:
        try:
            yield
        except (http.client.IncompleteRead, http.client.RemoteDisconnected):
            raise transport.broke(self._settings, "the server closed it before the answer's end") from None
        except (http.client.HTTPException, ValueError) as error:
            raise transport.not_http(self._settings, str(error) or type(error).__name__) from None
        except _TakesNoMore:
            raise transport.takes_no_more(self._settings) from None
        except TimeoutError:
            raise transport.fell_silent(self._settings) from None
        except OSError as error:
            raise transport.broke(self._settings, cause_of(error)) from error


class _TakesNoMore(Exception):
    """The other side reads nothing."""


class _Connection:
    """One socket; used by one exchange at a time."""

    def __init__(self, connected: socket.socket, *, listens: bool) -> None:
        self._socket = connected
        self._listens = listens
        self._answer: http.client.HTTPResponse | None = None
        self.kept_since = 0.0

    def close(self) -> None:
        # An answer that wasn't read to its end keeps the socket open.
        if self._answer is not None:
            self._answer.close()
        self._socket.close()

    def is_fresh(self) -> bool:
        """Whether it can still be used: the other side neither left nor speaks unasked."""
        if time.monotonic() - self.kept_since > _KEPT_SECONDS:
            return False
        return not select.select([self._socket], [], [], 0)[0]

    def answer(self, request: Request) -> http.client.HTTPResponse:
        """The answer's head; its body follows, as it comes."""
        self._socket.settimeout(request.silence_seconds)
        while self._listens and self._skip_interim():
            pass
        self._answer = answer = http.client.HTTPResponse(self._socket, method=request.method)
        answer.begin()
        return answer

    def send(self, head: bytes, body: Body | None) -> bool:
        """Send a request; False where the other side has answered, or left, before its end."""
        pending = head
        for chunk in () if body is None else body.chunks():
            # A small body goes with the head, in one packet.
            if not self._send(pending + chunk if pending is head else chunk):
                return False
            pending = b""
        return not pending or self._send(pending)

    def _send(self, data: bytes) -> bool:
        left = memoryview(data)
        self._socket.settimeout(ANSWER_SECONDS if not self._listens else 0)
        while left:
            if self._listens and not self._may_send():
                return False
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                continue
            except TimeoutError:
                raise _TakesNoMore from None
            except OSError:
                return False  # there may be an answer that says why; reading it fails in the same way if not
        return True

    def _may_send(self) -> bool:
        """Wait for room; False where there is an answer already."""
        while True:
            readable, writable, _ = select.select([self._socket], [self._socket], [], ANSWER_SECONDS)
            if not readable and not writable:
                raise _TakesNoMore
            if not readable:
                return True
            if not self._skip_interim():
                return False

    def _skip_interim(self) -> bool:
        """Take an answer that isn't the last word off the connection; False where there is none.

        It is read byte by byte, for what follows belongs to the next one.
        """
        try:
            status = self._socket.recv(len(b"HTTP/1.1 100"), socket.MSG_PEEK)
        except TimeoutError:
            raise
        except OSError:
            return False  # reading the answer tells
        is_interim = status.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and not status.endswith(b"101")
        if not is_interim or len(status) < len(b"HTTP/1.1 100"):
            return False
        timeout_seconds = self._socket.gettimeout()
        self._socket.settimeout(ANSWER_SECONDS)
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            byte = self._socket.recv(1)
            if not byte or len(head) > _LONGEST_HEAD_BYTES:
                raise http.client.HTTPException("an interim answer without an end")
            head += byte
        self._socket.settimeout(timeout_seconds)
        return True


def _host_header(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    if not name.isascii():
        name = name.encode("idna").decode("ascii")
    return name if port is None else f"{name}:{port}"
