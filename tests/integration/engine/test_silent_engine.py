"""What stands in for an engine here is a socket that accepts and says nothing, or the wrong thing."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from ci_common.errors import EngineUnavailable
from ci_common.ids import ContainerId, InstanceId
from ci_controller.container_manager import ContainerManager
from ci_controller.engine_calls import TimeLimits

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
QUICK = TimeLimits(look_seconds=0.2, change_seconds=0.2, image_seconds=0.2, stall_seconds=0.2)
_VERSION = b'{"ApiVersion": "1.41"}'
HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(_VERSION), _VERSION)
ANY = ContainerId("0" * 64)


@asynccontextmanager
async def engine(folder: Path, serve: Serve, limits: TimeLimits = QUICK) -> AsyncGenerator[ContainerManager]:
    path = folder / "engine.sock"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_unix_server(answer, path):
        environ = {"DOCKER_HOST": f"unix://{path}"}
        async with ContainerManager(InstanceId("i"), environ, limits) as manager:
            yield manager


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


async def broken_log(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nd\r\n\1\0\0\0\0\0\0\5first\r\n")


@pytest.mark.parametrize("serve", [silence, nonsense])
async def test_no_call_waits_for_an_engine_that_does_not_answer(tmp_path: Path, serve: Serve) -> None:
    async with engine(tmp_path, serve) as manager:
        calls: list[Awaitable[object]] = [
            manager.ping(),
            manager.list(),
            manager.inspect(ANY),
            manager.start(ANY),
            manager.remove(ANY),
            manager.feed(ANY, iter([b"x"])),
            manager.list_volumes(),
            manager.status(),
            anext(manager.follow(ANY)),
            anext(manager.engine_events()),
        ]
        results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [EngineUnavailable] * len(calls)


async def test_a_hung_call_does_not_hold_up_others(tmp_path: Path) -> None:
    hung, release = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"/containers/0" in request:
            hung.set()
            await release.wait()
        else:
            writer.write(HEALTHY)

    async with engine(tmp_path, serve, TimeLimits()) as manager:
        inspecting = asyncio.ensure_future(manager.inspect(ANY))
        await hung.wait()
        await asyncio.gather(*(manager.ping() for _ in range(100)))
        assert not inspecting.done()
        release.set()
        with pytest.raises(EngineUnavailable):
            await inspecting


async def test_no_engine_at_all_is_said_with_its_address(tmp_path: Path) -> None:
    environ = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    async with ContainerManager(InstanceId("i"), environ, QUICK) as manager:
        with pytest.raises(EngineUnavailable, match=r"none\.sock"):
            await manager.ping()
        with pytest.raises(EngineUnavailable, match=r"none\.sock"):
            await anext(manager.follow(ANY))


async def test_a_log_that_breaks_off_is_no_end(tmp_path: Path) -> None:
    async with engine(tmp_path, broken_log) as manager, aclosing(manager.follow(ANY)) as log:
        assert await anext(log) == b"first"
        with pytest.raises(EngineUnavailable, match="closed the connection"):
            await anext(log)


async def test_events_that_break_off_are_said_so(tmp_path: Path) -> None:
    async with engine(tmp_path, broken_log) as manager, aclosing(manager.engine_events()) as events:
        with pytest.raises(EngineUnavailable):
            await anext(events)


async def test_a_connection_that_the_engine_closed_is_made_anew(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEALTHY)

    async with engine(tmp_path, serve) as manager:
        for _ in range(5):
            await manager.ping()
