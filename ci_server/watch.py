"""One open stream as others see it: a bell to ring, and what `stream_clock` must know of it.

A bell is a hint; whoever hears it looks again. It rings for one waiter, and needs no timer.
"""

import asyncio
import time

from ci_server.auth import Credential


class Watch:
    """Made for a stream, on the event loop that serves it."""

    __slots__ = (
        "_sender",
        "_waiter",
        "credential",
        "has_rung",
        "is_ending",
        "is_ping_due",
        "is_stuck",
        "is_waiting",
        "pinged_at",
        "sending_since",
    )

    def __init__(self, credential: Credential) -> None:
        self.credential = credential
        self.is_ending = False
        """Its key is no longer good, its reader has left, or the server is about to stop."""
        self.is_waiting = False
        """Its job is queued: it wants to hear of the queue too."""
        self.is_ping_due = False
        self.pinged_at = time.monotonic()
        self.sending_since: float | None = None
        """Since when it has been waiting for its reader to take something."""
        self.is_stuck = False
        """Its reader has taken nothing for too long."""
        self.has_rung = False
        """Since the last `clear`."""
        self._waiter: asyncio.Future[None] | None = None
        self._sender: asyncio.Task[object] | None = None

    def clear(self) -> None:
        """Forget earlier rings: call it before looking, so that none during the look is lost."""
        self.has_rung = False

    def ring(self) -> None:
        """Something may have changed."""
        self.has_rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self) -> None:
        """The stream must end."""
        self.is_ending = True
        self.ring()

    async def wait(self) -> None:
        """Until it has rung since `clear`."""
        if not self.has_rung:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
            self._waiter = None

    def begin_sending(self) -> None:
        """The present task hands something to the reader's connection."""
        self.sending_since = time.monotonic()
        self._sender = asyncio.current_task()

    def end_sending(self) -> None:
        """The connection has taken it."""
        self.sending_since = None

    def give_up(self) -> None:
        """Interrupt the sending that has lasted too long."""
        if self._sender is not None and not self.is_stuck:
            self.is_stuck = True
            self._sender.cancel()
