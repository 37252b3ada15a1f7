"""The newest events of one job in memory, for all its watchers on this replica.

A job that prints is read once for each change, and its frames are encoded once: every watcher that
keeps up is given the same bytes. One that begins, or has fallen behind what is kept here, reads the
database by itself until it has come near.

Invariants: what is kept is bounded; the events told behind a position follow on it without a gap; a
watcher that has been told that nothing lies behind its position is rung when something does.
"""

import asyncio
import logging
import time

from ci_common.ids import JobId
from ci_server.event_reader import BATCH_BYTES, Batch, EventReader, batch_of, joined
from ci_server.watch import Watch

TAIL_BYTES = 2 * BATCH_BYTES
"""What is kept for those who are a little behind."""
CROWD = 20
PAUSE_SECONDS_A_WATCHER = 50e-6
"""Between two rounds through a crowd: sending to each costs about half of that, and what comes meanwhile
goes along with the next round. Neither a lone line nor a few watchers wait."""

_log = logging.getLogger(__name__)


class JobFeed:
    """One for each job that has a watcher here, from the first one to the last."""

    def __init__(self, job_id: JobId, reader: EventReader) -> None:
        self.watches: set[Watch] = set()
        self._job_id = job_id
        self._reader = reader
        self._head: int | None = None
        """Number of the newest event that was read; None before a watcher has come to the end."""
        self._tail: dict[int, Batch] = {}
        """Batches that follow on each other up to `_head`, oldest first, by the number before them."""
        self._tail_bytes = 0
        self._reading: asyncio.Task[None] | None = None
        self._must_read_again = False
        self._rung_at = float("-inf")

    def after(self, position: int) -> Batch | None:
        """The events behind `position`, none being an answer; None where only the database knows."""
        if self._head is None:
            return None
        if position >= self._head:
            return batch_of([], position)
        batches: list[Batch] = []
        size_bytes = 0
        while size_bytes < BATCH_BYTES and (batch := self._tail.get(position)) is not None:
            batches.append(batch)
            size_bytes += len(batch.frames)
            position = batch.last_seq
        if len(batches) <= 1:
            return batches[0] if batches else None
        return joined(batches)

    def reached(self, position: int) -> None:
        """A watcher has found nothing behind `position` in the database."""
        if self._head is None:
            self._head = position
            # What was committed since that look may have rung while there was nobody to ring.
            self.look()

    def is_behind(self, last_seq: int) -> bool:
        """Whether an event of this number has not been read yet."""
        return self._head is not None and last_seq > self._head

    def look(self) -> None:
        """The job has changed: read what is new, and ring those whom it concerns."""
        for watch in self.watches:
            if watch.is_waiting:
                watch.ring()
        if self._head is None:
            return
        self._must_read_again = True
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())

    def close(self) -> None:
        """The last watcher has left."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        try:
            while self._must_read_again:
                await self._let_others_work()
                self._must_read_again = False
                assert self._head is not None, "only what follows on something is read here"
                batch = await self._reader.read(self._job_id, self._head)
                if batch.frames:
                    self._keep(batch)
                    self._ring()
                self._must_read_again = self._must_read_again or not batch.is_all
        except Exception as error:  # noqa: BLE001 - whatever it is, each watcher must meet it by itself
            _log.warning("the events of job %s can't be read at present: %s", self._job_id, error)
            self._head = None
            self._tail.clear()
            self._tail_bytes = 0
            self._ring()
        finally:
            self._reading = None

    async def _let_others_work(self) -> None:
        if len(self.watches) >= CROWD:
            due = self._rung_at + len(self.watches) * PAUSE_SECONDS_A_WATCHER
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def _keep(self, batch: Batch) -> None:
        self._tail[batch.after] = batch
        self._tail_bytes += len(batch.frames)
        self._head = batch.last_seq
        while self._tail_bytes > TAIL_BYTES and len(self._tail) > 1:
            self._tail_bytes -= len(self._tail.pop(next(iter(self._tail))).frames)

    def _ring(self) -> None:
        self._rung_at = time.monotonic()
        for watch in self.watches:
            watch.ring()
