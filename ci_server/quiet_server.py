"""uvicorn's server without its look, ten times a second, whether it should stop: this one is told.

That look was four fifths of what an idle replica cost. What is left ticks once a second, for the date
in the answers' headers.
"""

import asyncio
from types import FrameType

import uvicorn

_TICK_SECONDS = 1.0


class QuietServer(uvicorn.Server):
    """For one process; used by `ci-server`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._serving_loop: asyncio.AbstractEventLoop | None = None
        self._told_to_stop = asyncio.Event()

    async def main_loop(self) -> None:
        """Until a signal comes; named by uvicorn."""
        self._serving_loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            try:
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._told_to_stop.wait()
            except TimeoutError:
                continue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by a signal; named by uvicorn."""
        super().handle_exit(sig, frame)
        if self._serving_loop is not None:
            self._serving_loop.call_soon_threadsafe(self._told_to_stop.set)
