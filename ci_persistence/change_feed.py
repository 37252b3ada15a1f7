"""Who is waiting for which job's news, in one process: ears for `announcements`, and a net below them.

Datagrams make it fast; a look at the database once a second makes it right, whatever was lost: when
the look finds a change, or a queue of datagrams was full, every subscriber is told that everything
may have changed.

Invariants: another process's commit is told at once as a rule, and within about a second always;
what is told carries no state; a subscription made before a read misses nothing that the read didn't
see.
"""

import asyncio
import logging
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path

from ci_common.ids import JobId
from ci_persistence.announcements import Audience
from ci_persistence.connections import Connection, open_reader
from ci_persistence.data_paths import wake_dir_of
from ci_persistence.subscription import Subscription, Wake
from ci_persistence.wake_socket import WakeSocket

__all__ = ["Audience", "ChangeFeed", "Subscription", "Wake"]

LOOK_SECONDS = 1.0
_LOOKS = {
    # Changes with every commit of another connection.
    Audience.SERVER: "PRAGMA data_version",
    # The leader's own commits, its beat above all, are no news to it.
    Audience.CONTROLLER: "SELECT changes FROM controller_inbox",
}

_log = logging.getLogger(__name__)


class ChangeFeed:
    """One for each process that waits; on one event loop, from `start` to `close`."""

    def __init__(self, db_path: Path | str, audience: Audience) -> None:
        self._db_path = Path(db_path)
        self._audience = audience
        self._of_job: dict[JobId, set[Subscription]] = {}
        self._of_all: set[Subscription] = set()
        self._opened = AsyncExitStack()

    async def start(self) -> None:
        """Begin to listen; the database must exist."""
        async with AsyncExitStack() as opened:
            opened.callback(self._tell_everything)
            wake_socket = WakeSocket.open(wake_dir_of(self._db_path), self._audience)
            opened.callback(wake_socket.close)
            loop = asyncio.get_running_loop()
            loop.add_reader(wake_socket.fileno(), self._receive, wake_socket)
            opened.callback(loop.remove_reader, wake_socket.fileno())
            reader = await open_reader(self._db_path)
            opened.push_async_callback(reader.close)
            look = loop.create_task(self._look_repeatedly(reader, await self._look(reader)))
            opened.push_async_callback(_end, look)
            self._opened = opened.pop_all()

    async def close(self) -> None:
        """Stop, and wake all waiters a last time; calling it twice is no error."""
        await self._opened.aclose()

    def subscribe(self, job_id: JobId | None) -> Subscription:
        """Hear of one job, or of all with None; subscribe first and read then."""
        subscription = Subscription(job_id, self._unsubscribe)
        if job_id is None:
            self._of_all.add(subscription)
        else:
            self._of_job.setdefault(job_id, set()).add(subscription)
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        job_id = subscription.job_id
        if job_id is None:
            self._of_all.discard(subscription)
        elif job_id in self._of_job:
            self._of_job[job_id].discard(subscription)
            if not self._of_job[job_id]:
                del self._of_job[job_id]

    def _receive(self, wake_socket: WakeSocket) -> None:
        news = wake_socket.receive()
        if news.everything:
            self._tell_everything()
        if not news.job_ids:
            return
        for job_id in news.job_ids:
            for subscription in self._of_job.get(job_id, ()):
                subscription.tell((job_id,))
        for subscription in self._of_all:
            subscription.tell(news.job_ids)

    def _tell_everything(self) -> None:
        for subscriptions in (self._of_all, *self._of_job.values()):
            for subscription in subscriptions:
                subscription.tell_everything()

    async def _look_repeatedly(self, reader: Connection, seen: int | None) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = await self._look(reader)
            if found is None or found != seen:
                self._tell_everything()
            seen = found

    async def _look(self, reader: Connection) -> int | None:
        """A number that differs once something has changed; None where that can't be told."""
        try:
            return await reader.run(self._read_number)
        except sqlite3.Error as error:
            _log.warning("the database %s can't be read at present: %s", self._db_path, error)
            return None

    def _read_number(self, sql: sqlite3.Connection) -> int:
        number: int = sql.execute(_LOOKS[self._audience]).fetchone()[0]
        return number


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
