"""Sends files into a waiting container through its stdin, and nothing else through that connection.

Invariants: stdout is never attached; the stream is sent once at most, since the engine closes stdin with
its first feeder; a container that takes nothing for `stall_seconds` fails the feeding instead of holding
it up; the caller's iterator is not running any more when this returns, unless cancelled twice.

That everything was sent is no proof that it arrived: the engine and the pipe hold some hundred kilobytes.
The proof is the runner's own word.
"""

import asyncio
from collections.abc import Iterator

from ci_common.ids import ContainerId
from ci_controller.engine_address import EngineAddress
from ci_controller.engine_calls import TimeLimits
from ci_controller.engine_errors import FeedFailed
from ci_controller.engine_stream import EngineStream, open_stream
from ci_controller.threads import in_thread

_BATCH_BYTES = 1 << 20
_SLICE_BYTES = 64 << 10


async def feed(
    address: EngineAddress, limits: TimeLimits, container_id: ContainerId, source: Iterator[bytes]
) -> None:
    """See `ContainerManager.feed`."""
    path = f"/containers/{container_id}/attach"
    query = {"stdin": 1, "stream": 1}
    async with open_stream(
        address, "POST", path, query, limit_seconds=limits.look_seconds, upgrade=True
    ) as stream:
        if stream.status not in {101, 200}:
            reason = "it is gone" if stream.status == 404 else await stream.refusal()
            raise FeedFailed(f"container {container_id} can't be fed: {reason}")
        # Nothing is left in this process once `drain` returns.
        stream.writer.transport.set_write_buffer_limits(high=0)
        while batch := await _next_batch(source):
            await _send(stream, container_id, batch, limits.stall_seconds)
        await _finish(stream, container_id, limits.stall_seconds)


async def _next_batch(source: Iterator[bytes]) -> bytes:
    """The next megabyte or so, read in a thread; empty at the end."""

    def gather() -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in source:
            parts.append(part)
            size += len(part)
            if size >= _BATCH_BYTES:
                break
        return b"".join(parts)

    reading = in_thread(gather, name="feed")
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait({reading})
        raise


async def _send(stream: EngineStream, container_id: ContainerId, data: bytes, stall_seconds: float) -> None:
    for at in range(0, len(data), _SLICE_BYTES):
        try:
            stream.writer.write(data[at : at + _SLICE_BYTES])
            async with asyncio.timeout(stall_seconds):
                await stream.writer.drain()
        except TimeoutError:
            raise FeedFailed(f"container {container_id} took nothing for {stall_seconds:g} s") from None
        except OSError as error:
            raise FeedFailed(f"container {container_id} closed its stdin early: {error}") from error


async def _finish(stream: EngineStream, container_id: ContainerId, stall_seconds: float) -> None:
    """Close stdin behind what was sent; the engine keeps the connection itself until the container ends."""
    try:
        async with asyncio.timeout(stall_seconds):
            if stream.writer.can_write_eof():
                stream.writer.write_eof()
            stream.writer.close()
            await stream.writer.wait_closed()
    except TimeoutError:
        raise FeedFailed(f"container {container_id} took nothing for {stall_seconds:g} s") from None
    except OSError as error:
        raise FeedFailed(f"container {container_id} closed its stdin early: {error}") from error
