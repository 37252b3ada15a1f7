"""A few connections that only read, for many callers: each gets one, or waits for the first free.

Reads run beside the writer and beside each other; each sees one state of the database and has fetched
all its rows, with its statement closed, before the caller gets anything.
"""

import asyncio
import sqlite3
from pathlib import Path
from typing import TypeVar

from ci_persistence.connections import Connection, Work, open_reader, translated
from ci_persistence.migrations_runner import check_version

Result = TypeVar("Result")

_CONNECTIONS = 4


class Readers:
    """Opens connections as they are needed, keeps them until `close`."""

    def __init__(self, db_path: Path) -> None:
        self._db_path = db_path
        self._opened: list[Connection] = []
        self._idle: list[Connection] = []
        self._is_closed = False
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def read(self, work: Work[Result]) -> Result:
        """What `work` finds in one snapshot."""
        async with self._slots:
            try:
                # The one used last comes first: its pages are cached.
                connection = self._idle.pop() if self._idle else await self._open()
                try:
                    return await connection.run(lambda sql: self._in_snapshot(sql, work))
                finally:
                    self._idle.append(connection)
            except sqlite3.Error as error:
                raise translated(error, self._db_path) from error

    async def close(self) -> None:
        """After what has begun."""
        self._is_closed = True
        for connection in self._opened:
            await connection.close()

    async def _open(self) -> Connection:
        assert not self._is_closed, "readers are closed"
        connection = await open_reader(self._db_path)
        self._opened.append(connection)
        return connection

    def _in_snapshot(self, sql: sqlite3.Connection, work: Work[Result]) -> Result:
        sql.execute("BEGIN")
        try:
            # A controller of a newer version may have upgraded the database since it was opened.
            check_version(sql, self._db_path)
            return work(sql)
        finally:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
