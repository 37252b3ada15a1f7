"""The one timer of all open streams: comments in silence, readers that take nothing, the server's end.

A timer for each stream would have to be set and taken back with each line that is sent. Without open
streams this one stands still.
"""

import asyncio
import time
from collections.abc import Callable

from ci_server.settings import ServerSettings
from ci_server.stream_hub import StreamHub
from ci_server.watch import Watch

_TICK_SECONDS = 0.5
_QUEUE_LOOK_SECONDS = 1.0
"""Others' jobs that start or leave the queue are not announced to those behind them."""
_SHUTDOWN_GRACE_SECONDS = 5.0
"""For a reader that takes nothing while the server stops."""


class StreamClock:
    """`run` must be running while there are streams."""

    def __init__(self, hub: StreamHub, settings: ServerSettings, is_stopping: Callable[[], bool]) -> None:
        self._hub = hub
        self._ping_seconds = settings.stream_ping_seconds
        self._send_seconds = settings.stream_send_seconds
        self._is_stopping = is_stopping

    async def run(self) -> None:
        """Tick as long as any stream is open, until cancelled."""
        tick_seconds = min(_TICK_SECONDS, self._ping_seconds / 2, self._send_seconds / 2)
        while True:
            await self._hub.has_streams.wait()
            await asyncio.sleep(tick_seconds)
            self.tick(time.monotonic())

    def tick(self, now_seconds: float) -> None:
        """Tell each stream what is due."""
        is_stopping = self._is_stopping()
        limit_seconds = self._send_seconds
        if is_stopping:
            limit_seconds = min(limit_seconds, _SHUTDOWN_GRACE_SECONDS)
        for watch in self._hub.watches():
            if is_stopping:
                watch.end()
            self._look_at(watch, now_seconds, limit_seconds)
        if now_seconds - self._hub.waiting_rung_at >= _QUEUE_LOOK_SECONDS:
            self._hub.ring_waiting()

    def _look_at(self, watch: Watch, now_seconds: float, limit_seconds: float) -> None:
        if watch.sending_since is not None:
            if now_seconds - watch.sending_since >= limit_seconds:
                watch.give_up()
        elif now_seconds - watch.pinged_at >= self._ping_seconds:
            watch.pinged_at = now_seconds
            watch.is_ping_due = True
            watch.ring()
