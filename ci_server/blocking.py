"""Calls that block, kept off the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

Result = TypeVar("Result")


async def run_blocking(work: Callable[[], Result], executor: Executor | None = None) -> Result:
    """What `work` returns or raises, from a thread.

    A caller that is cancelled meanwhile stays until the thread is done, so that it never closes a
    file under the thread's hands.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
