"""A container's output, from the engine's log: the same for live reading and after a crash.

Never by attaching to stdout: a reader of that who stands still stops the container, and `kill`, `inspect`
and `remove` of it hang until he is gone. The log is written whether or not anybody reads it, and can be
read from its first byte as often as one likes.
"""

from collections.abc import AsyncGenerator

from ci_common.errors import EngineUnavailable
from ci_common.ids import ContainerId
from ci_controller.engine_address import EngineAddress
from ci_controller.engine_calls import TimeLimits
from ci_controller.engine_stream import open_stream
from ci_controller.http_body import Demultiplexer, MalformedBody


async def follow(
    address: EngineAddress, limits: TimeLimits, container_id: ContainerId
) -> AsyncGenerator[bytes, None]:
    """See `ContainerManager.follow`."""
    path = f"/containers/{container_id}/logs"
    query = {"stdout": 1, "follow": 1}
    async with open_stream(address, "GET", path, query, limit_seconds=limits.look_seconds) as stream:
        if stream.status != 200:
            reason = await stream.refusal()
            if stream.status == 404 or "marked for removal" in reason:
                return
            raise EngineUnavailable(f"the engine gave no log of {container_id}: {reason}")
        frames = Demultiplexer()
        async for piece in stream.pieces():
            try:
                payload = frames.feed(piece)
            except MalformedBody as error:
                raise EngineUnavailable(f"the engine's log of {container_id} is broken: {error}") from error
            if payload:
                yield payload
