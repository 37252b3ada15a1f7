"""The one connection of a process that writes: whole transactions, one after the other.

Invariants: every transaction begins with BEGIN IMMEDIATE (a stale read that is upgraded fails at
once, whatever the time limit); it is committed and announced, or leaves nothing; another process's
lock is waited for, for `busy_seconds`; writers of logs leave room for others between their commits;
only a process that owns checkpoints moves the write-ahead log into the database.
"""

import asyncio
import logging
import sqlite3
import time
from pathlib import Path
from typing import Self, TypeVar

from ci_persistence.announcements import Announcer, Audience
from ci_persistence.connections import Connection, Work, is_busy, open_writer, translated
from ci_persistence.database_file import wal_bytes
from ci_persistence.migrations_runner import check_version
from ci_persistence.transaction import Durability, Transaction, TransactionWork

Result = TypeVar("Result")

FLOOD_PAUSE_SECONDS = 0.002
"""Between two commits of logs: without it other processes waited up to 0.93 s for their turn."""
CHECKPOINT_BYTES = 4 << 20
"""A write-ahead log of this size is moved into the database."""
_CHECKPOINT_BUSY_MILLISECONDS = 50
_CHECKPOINT_RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Writer:
    """Runs transactions; made by `Writer.open`."""

    def __init__(
        self, connection: Connection, db_path: Path, *, owns_checkpoints: bool, busy_seconds: float
    ) -> None:
        self._connection = connection
        self._db_path = db_path
        self._announcer = Announcer(db_path)
        self._owns_checkpoints = owns_checkpoints
        self._busy_seconds = busy_seconds
        self._is_closing = False
        self._durability = Durability.PROCESS
        self._last_log_commit = float("-inf")
        self._next_checkpoint = float("-inf")
        self._checkpoint_task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, db_path: Path, *, owns_checkpoints: bool, busy_seconds: float) -> Self:
        """On a database whose schema is known to be right."""
        connection = await open_writer(db_path)
        return cls(connection, db_path, owns_checkpoints=owns_checkpoints, busy_seconds=busy_seconds)

    async def close(self) -> None:
        """Stop waiting for locks, finish what has begun."""
        self._is_closing = True
        if self._checkpoint_task is not None:
            await self._checkpoint_task
        await self._connection.close()
        self._announcer.close()

    async def write(
        self, work: TransactionWork[Result], durability: Durability = Durability.PROCESS
    ) -> Result:
        """Run `work` in a transaction of its own; what it raises undoes it."""
        return await self._run(lambda sql: self._transact(sql, work, durability))

    async def write_log(self, work: TransactionWork[Result]) -> Result:
        """`write` for what comes in floods: leaves others a moment between two commits."""
        return await self._run(lambda sql: self._transact_log(sql, work))

    async def _run(self, work: Work[Result]) -> Result:
        try:
            return await self._connection.run(work)
        except sqlite3.Error as error:
            raise translated(error, self._db_path) from error
        finally:
            self._schedule_checkpoint()

    def _transact_log(self, sql: sqlite3.Connection, work: TransactionWork[Result]) -> Result:
        pause_seconds = self._last_log_commit + FLOOD_PAUSE_SECONDS - time.monotonic()
        if pause_seconds > 0:
            time.sleep(pause_seconds)
        try:
            return self._transact(sql, work, Durability.PROCESS)
        finally:
            self._last_log_commit = time.monotonic()

    def _transact(
        self, sql: sqlite3.Connection, work: TransactionWork[Result], durability: Durability
    ) -> Result:
        self._set_durability(sql, durability)
        self._begin(sql)
        transaction = Transaction(sql)
        try:
            check_version(sql, self._db_path)
            result = work(transaction)
            if Audience.CONTROLLER in transaction.told:
                sql.execute("UPDATE controller_inbox SET changes = changes + 1")
            sql.execute("COMMIT")
        except BaseException:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
            raise
        self._announce(transaction)
        return result

    def _set_durability(self, sql: sqlite3.Connection, durability: Durability) -> None:
        if durability is not self._durability:
            level = "FULL" if durability is Durability.POWER_LOSS else "NORMAL"
            sql.execute(f"PRAGMA synchronous = {level}")
            self._durability = durability

    def _begin(self, sql: sqlite3.Connection) -> None:
        deadline = time.monotonic() + self._busy_seconds
        while True:
            try:
                sql.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not is_busy(error) or self._is_closing or time.monotonic() >= deadline:
                    raise
            else:
                return

    def _announce(self, transaction: Transaction) -> None:
        if transaction.tells_everything:
            transaction.told.pop(Audience.SERVER, None)
            self._announcer.announce_everything(Audience.SERVER)
        for audience, job_ids in transaction.told.items():
            self._announcer.announce(audience, job_ids)

    def _schedule_checkpoint(self) -> None:
        # In a task of its own: whoever wrote has the answer before the log is moved.
        if (
            self._owns_checkpoints
            and not self._is_closing
            and self._checkpoint_task is None
            and time.monotonic() >= self._next_checkpoint
            and wal_bytes(self._db_path) >= CHECKPOINT_BYTES
        ):
            self._checkpoint_task = asyncio.get_running_loop().create_task(self._checkpoint())

    async def _checkpoint(self) -> None:
        retry_seconds = _CHECKPOINT_RETRY_SECONDS
        try:
            if await self._connection.run(_checkpoint):
                retry_seconds = 0.0
        except sqlite3.Error as error:
            _log.warning("the database's log can't be moved into %s at present: %s", self._db_path, error)
        finally:
            # A reader in the way may stand there for long: what could be moved has been.
            self._next_checkpoint = time.monotonic() + retry_seconds
            self._checkpoint_task = None


def _checkpoint(sql: sqlite3.Connection) -> bool:
    """Whether all of it was moved. Takes the write lock, so that nobody writes at the same instant."""
    previous: int = sql.execute("PRAGMA busy_timeout").fetchone()[0]
    sql.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_BUSY_MILLISECONDS}")
    try:
        busy: int = sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        sql.execute(f"PRAGMA busy_timeout = {previous}")
    return not busy
