"""Who may have an archive put together, which costs the server a whole bundle and the caller a few bytes.

A user has one put together at a time, and none while the bundles of their unfinished jobs hold more than
an upload may: so, in each replica, no user takes more of the disk by naming than two uploads of the largest
size would.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from ci_common.ids import UserId
from ci_common.repository import JobRepository
from ci_server.errors import TooMuchUnfinished


class ComposingTurns:
    """Those of one replica."""

    def __init__(self, jobs: JobRepository, max_bytes: int) -> None:
        self._jobs = jobs
        self._max_bytes = max_bytes
        self._locks: WeakValueDictionary[UserId, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn_of(self, user_id: UserId) -> AsyncGenerator[None]:
        """The user's turn, which must last until the job is there.

        Raises:
            TooMuchUnfinished: their unfinished jobs hold too much already.
        """
        lock = self._locks.setdefault(user_id, asyncio.Lock())
        async with lock:
            unfinished_bytes = await self._jobs.unfinished_bundle_bytes(user_id)
            if unfinished_bytes > self._max_bytes:
                raise TooMuchUnfinished(
                    f"your unfinished jobs hold {unfinished_bytes} bytes of files, more than the "
                    f"{self._max_bytes} that CI_MAX_UPLOAD_BYTES allows; wait until one has ended, or cancel "
                    "one (`ci list` shows them)"
                )
            yield
