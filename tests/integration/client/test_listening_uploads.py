"""The HTTP client against servers that answer, or fall silent, in the middle."""

import asyncio
import errno
import io
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ci_client.client import ServerClient
from ci_client.following import Follower
from ci_client.problems import ClientError, InternalFault, KeyRefused, Transient, Unreachable
from ci_client.retrying import Patience
from ci_client.settings import Settings
from ci_client.uploading import SendingState, Upload
from tests.integration.client.scripted_server import (
    JOB_ID,
    Exchange,
    Handler,
    complete,
    log,
    position_of,
    scripted_server,
)

TWO_GIB = 2 << 30
SUBMIT = "^POST /submit-async$"


class Zeros(io.RawIOBase):
    """An archive that takes no room."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self._left = self._size_bytes = size_bytes
        self.given_bytes = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        assert (offset, whence) == (0, 0)
        self._left = self._size_bytes
        return 0

    def read(self, size: int = -1, /) -> bytes:
        given = min(size, self._left)
        self._left -= given
        self.given_bytes += given
        return bytes(given)


def upload_of(zeros: Any, size_bytes: int) -> Upload:  # a RawIOBase that reads is all that it takes
    return Upload(job_id=JOB_ID, archive=zeros, archive_bytes=size_bytes, options=b"{}", state=SendingState())


@asynccontextmanager
async def client_for(
    handlers: dict[str, Handler], silence_seconds: float = 45
) -> AsyncGenerator[ServerClient]:
    async with scripted_server(handlers) as server:
        settings = Settings(server=server.url, server_source="--server", config_path=Path("unused"))
        client = ServerClient(settings, "ci_key", silence_seconds=silence_seconds)
        yield client
        client.close()


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_early_refusal_ends_a_large_upload(before: bytes) -> None:
    """The server answers at once, perhaps behind an interim answer, and then neither reads nor closes."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.send(before)
        await exchange.json(401, {"detail": "no such key"})
        await asyncio.Event().wait()

    zeros = Zeros(TWO_GIB)
    async with client_for({SUBMIT: refuse}) as client:
        with pytest.raises(KeyRefused, match="no such key"):
            await asyncio.to_thread(client.submit, upload_of(zeros, TWO_GIB))
    assert zeros.given_bytes < TWO_GIB / 8


async def test_an_early_refusal_is_seen_by_a_server_that_reads_on() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.answer(413, b"<html>too large</html>", "text/html")
        while await exchange.reader.read(1 << 20):
            pass

    zeros = Zeros(TWO_GIB)
    async with client_for({SUBMIT: refuse}) as client:
        with pytest.raises(Unreachable, match="client_max_body_size"):
            await asyncio.to_thread(client.submit, upload_of(zeros, TWO_GIB))
    assert zeros.given_bytes < TWO_GIB / 8


async def test_a_refusal_with_a_cut_connection_is_a_refusal_or_a_cut() -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.json(401, {"detail": "no such key"})
        exchange.reset()

    async with client_for({SUBMIT: refuse}) as client:
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(client.submit, upload_of(Zeros(TWO_GIB), TWO_GIB))
    assert isinstance(caught.value, KeyRefused | Transient)


@pytest.mark.parametrize("head", [b"100 Continue", b"103 Early Hints\r\nLink: </x>; rel=preload"])
async def test_an_interim_answer_ends_nothing(head: bytes) -> None:
    """Nobody asked for it, but proxies send it; before the body, in the middle of it and behind it."""
    interim = b"HTTP/1.1 " + head + b"\r\n\r\n"

    async def hint(exchange: Exchange) -> None:
        await exchange.send(interim)
        left = int(exchange.headers["content-length"])
        received = len(await exchange.reader.readexactly(left // 2))
        await exchange.send(interim + interim)
        received += len(await exchange.reader.readexactly(left - received))
        await exchange.send(interim)
        await exchange.json(202, {"job_id": JOB_ID, "status": "queued"})

    zeros = Zeros(32 << 20)
    async with client_for({SUBMIT: hint}) as client:
        await asyncio.to_thread(client.submit, upload_of(zeros, 32 << 20))
    assert zeros.given_bytes == 32 << 20


async def test_an_archive_that_can_not_be_read_is_no_broken_connection() -> None:
    class Damaged(Zeros):
        def read(self, size: int = -1, /) -> bytes:
            if self.given_bytes:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    asked = asyncio.Event()

    async def take(exchange: Exchange) -> None:
        asked.set()
        await exchange.read_body()

    async with client_for({SUBMIT: take}) as client:
        with pytest.raises(InternalFault, match=r"the archive in .*: Input/output error"):
            await asyncio.to_thread(client.submit, upload_of(Damaged(TWO_GIB), TWO_GIB))
        await asked.wait()


async def test_a_silent_stream_is_left_and_taken_up_again() -> None:
    texts: list[str] = []

    class Collect:
        def output(self, phase: str, text: str) -> None:
            texts.append(text)

        def notice(self, text: str) -> None:
            raise AssertionError(text)

    async def fall_silent(exchange: Exchange) -> None:
        await exchange.begin_events()
        if position_of(exchange) == 0:
            await exchange.send(b"id: 0\n\n" + log(1, "one\n") + b"id: 2\nevent: log\nda")
            await asyncio.Event().wait()
        await exchange.send(log(2, "two\n") + complete(3))

    async with client_for({"/stream$": fall_silent}, silence_seconds=0.3) as client:
        patience = Patience(60, texts.append)
        follower = Follower(lambda after: client.events(JOB_ID, after), Collect(), patience, after=0)
        end = await asyncio.to_thread(follower.run)
    assert (end.outcome, texts) == ("passed", ["one\n", "two\n"])


async def test_heartbeats_keep_a_quiet_stream() -> None:
    async def beat(exchange: Exchange) -> None:
        await exchange.begin_events()
        began = time.monotonic()
        while time.monotonic() - began < 1:
            await exchange.send(b": ping\n\n")
            await asyncio.sleep(0.1)
        await exchange.send(complete(1))

    async with client_for({"/stream$": beat}, silence_seconds=0.8) as client:

        def read() -> bytes:
            with client.events(JOB_ID, 0) as pieces:
                return b"".join(pieces)

        assert (await asyncio.to_thread(read)).count(b"ping") > 1
