"""Lets a refusal reach its client although the client is still sending its body.

A server that answers early and closes the connection makes the client's kernel report a reset, which
may destroy the answer before it is read; one that keeps the connection has to take the whole body. So
the answer is sent whole at once, the rest of the body is thrown away for a bounded time and amount,
and then the connection is closed. A client that awaits `100 Continue` never sends the body at all.
"""

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LINGER_BYTES = 64 << 20
_LINGER_SECONDS = 5.0
_REFUSAL = 400


class LingeringClose:
    """Middleware around a whole application."""

    def __init__(self, app: ASGIApp, idle_seconds: float = 2.0) -> None:
        self._app = app
        self._idle_seconds = idle_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection, as ASGI has it."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        expects_continue = _header(scope, b"expect") is not None
        exchange = _Exchange(receive, send, self._idle_seconds, expects_continue=expects_continue)
        await self._app(scope, exchange.receive, exchange.send)


def _has_body(scope: Scope) -> bool:
    length = _header(scope, b"content-length")
    return _header(scope, b"transfer-encoding") is not None or length not in {None, b"0"}


def _header(scope: Scope, name: bytes) -> bytes | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in headers if key == name), None)


class _Exchange:
    """One request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send, idle_seconds: float, *, expects_continue: bool) -> None:
        self._receive = receive
        self._send = send
        self._idle_seconds = idle_seconds
        self._expects_continue = expects_continue
        self._has_asked = False
        self._body_ended = False
        self._is_refusal = False

    async def receive(self) -> Message:
        self._has_asked = True
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._body_ended = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_refusal = message["status"] >= _REFUSAL and not self._body_ended
            headers = (
                [*message["headers"], (b"connection", b"close")] if self._is_refusal else message["headers"]
            )
            await self._send({**message, "headers": headers})
        elif self._is_refusal and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._linger()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

    async def _linger(self) -> None:
        if self._expects_continue and not self._has_asked:
            return
        deadline = time.monotonic() + _LINGER_SECONDS
        left_bytes = _LINGER_BYTES
        while not self._body_ended and left_bytes > 0 and time.monotonic() < deadline:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    message = await self.receive()
            except TimeoutError:
                return
            left_bytes -= len(message.get("body", b""))
