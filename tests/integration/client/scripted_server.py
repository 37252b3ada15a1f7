"""A server that misbehaves on purpose: raw sockets, so that every byte and every cut is the test's own.

Only for faults; what a sound server does is tried against the real one. Where a test says nothing it
answers as the platform would for one job that has passed.
"""

import asyncio
import json
import re
import ssl
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.e2e.conditions import PATIENCE_SECONDS

JOB_ID = "11111111-2222-4333-8444-555555555555"
GATEWAY_PAGE = b"<html><body>502 Bad Gateway (nginx)</body></html>"


@dataclass
class Exchange:
    """One request, and the way to answer it."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes = b""

    async def read_body(self) -> bytes:
        self.body = await self.reader.readexactly(int(self.headers.get("content-length", "0")))
        return self.body

    async def answer(
        self, status: int, body: bytes, content_type: str = "application/json", **headers: str
    ) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "\r\n"]).encode() + body)
        await self.writer.drain()

    async def json(self, status: int, value: object, **headers: str) -> None:
        await self.answer(status, json.dumps(value).encode(), **headers)

    async def begin_events(self) -> None:
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Cut the connection as a crash would."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER
        self.writer.transport.abort()


Handler = Callable[[Exchange], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Answers by `handlers`: the first whose pattern fits "METHOD /path"."""

    handlers: dict[str, Handler] = field(default_factory=dict[str, Handler])
    requests: list[Exchange] = field(default_factory=list[Exchange])
    port: int = 0
    scheme: str = "http"
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def made(self, pattern: str) -> list[Exchange]:
        """The requests so far that fit."""
        return [
            request for request in self.requests if re.search(pattern, f"{request.method} {request.path}")
        ]

    async def until_made(self, pattern: str, count: int = 1) -> Exchange:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.made(pattern)) < count:
                self.changed.clear()
                await self.changed.wait()
        return self.made(pattern)[count - 1]

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                exchange = _exchange(head, reader, writer)
                self.requests.append(exchange)
                self.changed.set()
                await self._handler(exchange)(exchange)
                if exchange.path.endswith("/stream"):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left; what it saw is what the test looks at
        finally:
            writer.close()

    def _handler(self, exchange: Exchange) -> Handler:
        asked = f"{exchange.method} {exchange.path}"
        for pattern, handler in (*self.handlers.items(), *_SOUND.items()):
            if re.search(pattern, asked):
                return handler
        raise AssertionError(f"nobody answers {asked}")


def _exchange(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Exchange:
    first, *lines = head.decode().strip().split("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Exchange(method, path, query, headers, reader, writer)


def job(status: str = "completed", outcome: str | None = "passed") -> dict[str, object]:
    done = status == "completed"
    return {
        "job_id": JOB_ID,
        "status": status,
        "success": (outcome == "passed") if done else None,
        "outcome": outcome if done else None,
        "reason": None,
        "exit_code": 0 if done else None,
        "submit_time": "2026-01-01T00:00:00.000000+00:00",
        "start_time": "2026-01-01T00:00:01.000000+00:00",
        "end_time": "2026-01-01T00:00:03.500000+00:00" if done else None,
        "attempt": 1,
    }


def event(seq: int, kind: str, **data: object) -> bytes:
    value = json.dumps({"type": kind, **data})
    return f"id: {seq}\nevent: {kind}\ndata: {value}\n\n".encode()


def log(seq: int, text: str) -> bytes:
    return event(seq, "log", phase="test", data=text)


def complete(seq: int, outcome: str = "passed", exit_code: int | None = 0) -> bytes:
    return event(seq, "complete", outcome=outcome, success=outcome == "passed", exit_code=exit_code)


def position_of(exchange: Exchange) -> int:
    return int(exchange.headers.get("last-event-id", "0"))


async def _me(exchange: Exchange) -> None:
    await exchange.json(200, {"user": {"name": "Ada", "email": "ada@example.org"}, "server_version": "1"})


async def _submit(exchange: Exchange) -> None:
    await exchange.read_body()
    await exchange.json(202, {"job_id": exchange.headers["idempotency-key"], "status": "queued"})


async def _stream(exchange: Exchange) -> None:
    await exchange.begin_events()
    await exchange.send(b"id: 0\n\n" + log(1, "fine\n") + complete(2))


async def _job(exchange: Exchange) -> None:
    await exchange.json(200, job("running"))


async def _cancel(exchange: Exchange) -> None:
    await exchange.json(200, job("completed", "cancelled"))


_SOUND: dict[str, Handler] = {
    "^GET /me$": _me,
    "^POST /submit-async$": _submit,
    "^GET /jobs/[^/]*/stream$": _stream,
    "^POST /jobs/[^/]*/cancel$": _cancel,
    "^GET /jobs/[^/]*$": _job,
}


@asynccontextmanager
async def scripted_server(
    handlers: dict[str, Handler] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[ScriptedServer]:
    """Run one in the test's own event loop."""
    server = ScriptedServer(handlers or {}, scheme="https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(server.connection(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
