"""What an administrator wants to know of the database itself, without opening a repository."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ci_persistence.database_file import size_bytes, wal_bytes


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """Versions and sizes at one moment."""

    sqlite_version: str
    database_bytes: int
    wal_bytes: int
    """Size of the write-ahead log, which the controller moves into the database."""


def database_info(db_path: Path) -> DatabaseInfo:
    """Of a database that may be in use; sizes are 0 where there is no file."""
    return DatabaseInfo(
        sqlite_version=sqlite3.sqlite_version,
        database_bytes=size_bytes(db_path),
        wal_bytes=wal_bytes(db_path),
    )
