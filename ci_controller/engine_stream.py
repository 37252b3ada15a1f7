"""Long-lived connections to the engine: its logs, its events, a container's stdin.

Plain HTTP/1.1 on asyncio streams in place of the SDK's, which handles every frame by itself (1.6 s for
200,000 lines against 1.0 s read in large pieces), holds a thread for each stream and can't be closed from
outside. Here closing is immediate, and a reader that stands still stops the socket, not the memory.

Only `log_stream`, `stdin_stream`, `engine_events` and `images` use this.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlencode

from ci_common.errors import EngineUnavailable
from ci_controller import engine_json
from ci_controller.engine_address import EngineAddress
from ci_controller.http_body import ChunkedBody, MalformedBody

PIECE_BYTES = 256 << 10
_LARGEST_ERROR_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class EngineStream:
    """A connection whose request was sent and whose answer has begun."""

    url: str
    status: int
    headers: Mapping[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body of the answer as it comes, in pieces as large as have come.

        Raises:
            EngineUnavailable: the connection broke before the body's end.
        """
        chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        body = ChunkedBody() if chunked else None
        try:
            while data := await self.reader.read(PIECE_BYTES):
                payload = data if body is None else body.feed(data)
                if payload:
                    yield payload
                if body is not None and body.finished:
                    return
        except (OSError, MalformedBody) as error:
            raise EngineUnavailable(f"lost the connection to the engine at {self.url}: {error}") from error
        if body is not None:
            raise EngineUnavailable(f"the engine at {self.url} closed the connection")

    async def json_lines(self) -> AsyncGenerator[engine_json.Json, None]:
        """The JSON objects in a body that has one in each line; what is none is left out."""
        rest = b""
        async for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                decoded = engine_json.parsed(line)
                if decoded:
                    yield decoded

    async def refusal(self) -> str:
        """Why the engine refused, in its own words."""
        said = b""
        async for piece in self.pieces():
            said += piece
            if len(said) > _LARGEST_ERROR_BYTES:
                break
        text = said.decode(errors="replace").strip()
        return engine_json.text(engine_json.parsed(said), "message") or text


@asynccontextmanager
async def open_stream(
    address: EngineAddress,
    method: str,
    path: str,
    query: Mapping[str, str | int],
    *,
    limit_seconds: float,
    upgrade: bool = False,
) -> AsyncGenerator[EngineStream, None]:
    """Connect, ask, and read the head of the answer within `limit_seconds`; closed at once afterwards.

    Raises:
        EngineUnavailable: no connection, or no answer in time.
    """
    try:
        async with asyncio.timeout(limit_seconds):
            reader, writer = await _connect(address)
    except TimeoutError:
        raise EngineUnavailable(f"the engine at {address.url} took no connection in time") from None
    except OSError as error:
        raise EngineUnavailable(f"no answer from the engine at {address.url}: {error}") from error
    try:
        writer.write(_request(method, f"{path}?{urlencode(query)}", upgrade=upgrade))
        try:
            async with asyncio.timeout(limit_seconds):
                status, headers = await _read_head(reader)
        except TimeoutError:
            raise EngineUnavailable(
                f"the engine at {address.url} did not answer {method} {path} within {limit_seconds:g} s"
            ) from None
        except (OSError, EOFError, ValueError) as error:
            raise EngineUnavailable(f"no answer from the engine at {address.url}: {error}") from error
        yield EngineStream(address.url, status, headers, reader, writer)
    finally:
        writer.transport.abort()
        # What went wrong on the way out of a connection that is thrown away tells nobody anything.
        with suppress(OSError):
            await writer.wait_closed()


async def _connect(address: EngineAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.socket_path is not None:
        return await asyncio.open_unix_connection(address.socket_path, limit=PIECE_BYTES)
    return await asyncio.open_connection(
        address.host, address.port, ssl=address.ssl_context(), limit=PIECE_BYTES
    )


def _request(method: str, target: str, *, upgrade: bool) -> bytes:
    connection = "Connection: Upgrade\r\nUpgrade: tcp" if upgrade else "Connection: close"
    length = "Content-Length: 0\r\n" if method == "POST" else ""
    return f"{method} {target} HTTP/1.1\r\nHost: engine\r\n{connection}\r\n{length}\r\n".encode("ascii")


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, Mapping[str, str]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise ValueError("its answer has no end of headers") from error
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1."):
        raise ValueError(f"{first!r} is no HTTP answer")
    pairs = (line.partition(":") for line in lines if line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}
