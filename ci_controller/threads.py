"""One thread for each blocking call, because a pool can be used up by calls that hang.

Starting a thread costs some 0.1 ms, less than any call that is worth one. The threads are daemons: one
that hangs neither keeps the process from ending nor takes another call's place.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Start `work` in a thread of its own; cancelling the future abandons it, but doesn't stop it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T) -> None:
        if not future.done():
            future.set_result(result)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the one who waits
            _hand_over(loop, fail, error)
        else:
            _hand_over(loop, deliver, result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def _hand_over(loop: asyncio.AbstractEventLoop, take: Callable[[T], None], value: T) -> None:
    try:
        loop.call_soon_threadsafe(take, value)
    except RuntimeError:
        # The loop was closed meanwhile: the program ends, and nobody waits for this any more.
        if not loop.is_closed():
            raise
