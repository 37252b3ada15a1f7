"""SQLite connections as this platform uses them: each with a thread of its own, work handed in whole.

A piece of work is an ordinary function that gets the `sqlite3.Connection` and runs from beginning to
end on the connection's thread. So a cancelled caller never leaves half a transaction, nobody shares
somebody else's, one hop to the thread and back is all that a transaction costs, and statements are
closed before their rows go anywhere.

Only the modules of this package open connections, and through here alone.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote

import aiosqlite

from ci_common.errors import CIError, StorageBusy, StorageFull
from ci_persistence.database_file import OPEN_FILES, FileIdentity, foreign

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

BUSY_MILLISECONDS = 200
"""How long SQLite itself waits for a lock. It asks ever more seldom, so waits are cut short and
begun anew by `Writer`, which also lets a closing process stop waiting."""
READ_BUSY_MILLISECONDS = 10_000
"""Readers wait only while another process recovers or removes the write-ahead log."""
_CACHED_STATEMENTS = 256


class Connection(aiosqlite.Connection):
    """One SQLite connection and its thread, from `Connection.open` to `close`."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        # A process that fails before it could close must end all the same; SQLite survives that.
        self._thread.daemon = True

    @classmethod
    async def open(cls, connector: Callable[[], sqlite3.Connection]) -> Self:
        """Start the thread and let it connect."""
        connection = cls(connector)
        await connection
        return connection

    async def run(self, work: Work[Result]) -> Result:
        """What `work` returns or raises; it runs to its end even when the caller is cancelled."""
        # aiosqlite leaves the types of this method out; it is what all its others are made of.
        answer: Awaitable[Result] = self._execute(work, self._conn)  # pyright: ignore[reportUnknownMemberType]
        return await answer

    async def close(self) -> None:
        await super().close()
        # Its last act was to say that it is done: the join takes microseconds.
        self._thread.join()


async def open_reader(db_path: Path) -> Connection:
    """A connection that never writes."""
    return await Connection.open(lambda: connect_reader(db_path))


async def open_writer(db_path: Path) -> Connection:
    """A connection for `Writer`."""
    return await Connection.open(lambda: connect_writer(db_path))


def connect_reader(db_path: Path) -> sqlite3.Connection:
    """The `sqlite3` connection inside of `open_reader`."""
    connection = _connect(db_path, READ_BUSY_MILLISECONDS)
    connection.execute("PRAGMA query_only = ON")
    return connection


def connect_writer(db_path: Path) -> sqlite3.Connection:
    """The `sqlite3` connection inside of `open_writer`."""
    connection = _connect(db_path, BUSY_MILLISECONDS)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


class _TrackedConnection(sqlite3.Connection):
    """Says when it is closed, so that its file is never opened in any other way before."""

    identity: FileIdentity | None = None

    def close(self) -> None:
        super().close()
        if self.identity is not None:
            OPEN_FILES.end(self.identity)
            self.identity = None


def _connect(db_path: Path, busy_milliseconds: int) -> sqlite3.Connection:
    identity = OPEN_FILES.begin(db_path)
    try:
        # mode=rw: a file that has gone away is an error, not an invitation to make an empty one.
        connection = sqlite3.connect(
            f"file:{quote(str(db_path))}?mode=rw",
            uri=True,
            isolation_level=None,
            cached_statements=_CACHED_STATEMENTS,
            factory=_TrackedConnection,
        )
    except BaseException:
        if identity is not None:
            OPEN_FILES.end(identity)
        raise
    assert isinstance(connection, _TrackedConnection)
    connection.identity = identity
    try:
        connection.execute(f"PRAGMA busy_timeout = {busy_milliseconds}")
        connection.execute("PRAGMA foreign_keys = ON")
        # SQLite up to 3.51.2 may corrupt a database when two processes checkpoint at once: one does.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection's lock was in the way."""
    return _primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def translated(error: sqlite3.Error, db_path: Path) -> Exception:
    """`error` as what callers of a repository expect, or itself where it is a fault of the program."""
    if is_busy(error):
        return StorageBusy(f"another process keeps the database {db_path} locked; try again in a moment")
    match _primary_code(error):
        case sqlite3.SQLITE_FULL:
            return StorageFull(f"no disk space is left for the database {db_path}")
        case sqlite3.SQLITE_NOTADB:
            return foreign(db_path)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return CIError(
                f"the database {db_path} can't be opened for writing ({error}): does this user belong to "
                "the group of its folder?"
            )
        case _:
            return error


def _primary_code(error: sqlite3.Error) -> int | None:
    # Absent on errors that the Python module raises without SQLite.
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
