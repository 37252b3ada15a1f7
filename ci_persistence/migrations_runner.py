"""The schema and its versions: numbered SQL files, each applied once, in order, all or nothing.

A database says in `application_id` that it is ours, and in `user_version` how many files it has had.
Opening creates the schema in an empty file only; raising an older version is the controller's alone.
Whatever else the file is, it is refused before a byte of it changes.
"""

import asyncio
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

from ci_common.errors import CIError, SchemaMismatch, SchemaOutdated
from ci_persistence.connections import connect_writer, is_busy, translated
from ci_persistence.database_file import FileKind, foreign, kind_of
from ci_persistence.shared_files import make_file, make_folder

Result = TypeVar("Result")

_LOCK_SECONDS = 60.0
_OPENING = threading.Lock()
"""One thread at a time makes a file, and closes it before SQLite opens it (`database_file`)."""


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """What opening or migrating did to a database."""

    before: int
    """0: there was no schema, it has been created."""
    after: int

    @property
    def created(self) -> bool:
        """Whether this call made the database."""
        return self.before == 0


def _load_migrations() -> tuple[str, ...]:
    folder = resources.files("ci_persistence").joinpath("migrations")
    files = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith(".sql")}
    for number, name in enumerate(sorted(files), start=1):
        assert name.startswith(f"{number:04}_"), f"{name} is not migration number {number}"
    return tuple(files[name].read_text("utf-8") for name in sorted(files))


MIGRATIONS = _load_migrations()
"""The SQL that leads to each version; to version 1 at index 0."""


async def create_if_empty(db_path: Path, migrations: Sequence[str] = MIGRATIONS) -> SchemaChange:
    """Make the schema where there is none, else see that it is the right one.

    Raises:
        SchemaOutdated: it is older.
        SchemaMismatch: it is newer or foreign.
    """
    return await asyncio.to_thread(_open_schema, db_path, migrations, may_upgrade=False)


async def migrate(db_path: Path, migrations: Sequence[str] = MIGRATIONS) -> SchemaChange:
    """Bring an older or empty database to the present version; for the controller.

    Raises:
        SchemaMismatch: it is newer or foreign.
    """
    return await asyncio.to_thread(_open_schema, db_path, migrations, may_upgrade=True)


def check_version(sql: sqlite3.Connection, db_path: Path, expected: int = len(MIGRATIONS)) -> None:
    """Refuse a database of another version, also one that was upgraded after it had been opened."""
    version = _version(sql)
    if version < expected:
        raise SchemaOutdated(
            f"the database {db_path} has schema {version}, and this version needs {expected}: "
            "start ci-controller, which upgrades it"
        )
    if version > expected:
        raise SchemaMismatch(
            f"the database {db_path} has schema {version}, and this version knows only {expected}: "
            "upgrade this installation, or name another database with --db-path or CI_DB_PATH"
        )


def _open_schema(db_path: Path, migrations: Sequence[str], *, may_upgrade: bool) -> SchemaChange:
    with _OPENING:
        if kind_of(db_path) is FileKind.FOREIGN:
            raise foreign(db_path)
        make_folder(db_path.parent)
        make_file(db_path)
    return _prepare(db_path, migrations, may_upgrade=may_upgrade)


def _prepare(db_path: Path, migrations: Sequence[str], *, may_upgrade: bool) -> SchemaChange:
    try:
        with closing(connect_writer(db_path)) as sql:
            before = _read_version(sql)
            after = before
            if before == 0 or (may_upgrade and before < len(migrations)):
                before, after = _apply(sql, db_path, migrations, may_upgrade=may_upgrade)
            check_version(sql, db_path, len(migrations))
            _use_write_ahead_log(sql, db_path)
    except sqlite3.Error as error:
        raise translated(error, db_path) from error
    return SchemaChange(before, after)


def _apply(
    sql: sqlite3.Connection, db_path: Path, migrations: Sequence[str], *, may_upgrade: bool
) -> tuple[int, int]:
    with _transaction(sql):
        before = _version(sql)  # another process may have been quicker
        if before == 0:
            _refuse_tables(sql, db_path)
        if before == 0 or may_upgrade:
            for version in range(before + 1, len(migrations) + 1):
                for statement in _statements(migrations[version - 1]):
                    sql.execute(statement)
                sql.execute(f"PRAGMA user_version = {version}")
        if before == 0:
            sql.execute("INSERT INTO installation (only, instance_id) VALUES (1, ?)", (str(uuid.uuid4()),))
        return before, _version(sql)


@contextmanager
def _transaction(sql: sqlite3.Connection) -> Generator[None]:
    sql.execute("PRAGMA synchronous = FULL")
    _patiently(lambda: sql.execute("BEGIN IMMEDIATE"))
    try:
        yield
        sql.execute("COMMIT")
    except BaseException:
        if sql.in_transaction:
            sql.execute("ROLLBACK")
        raise


def _refuse_tables(sql: sqlite3.Connection, db_path: Path) -> None:
    if sql.execute("SELECT 1 FROM sqlite_schema").fetchone() is not None:
        raise foreign(db_path)


def _use_write_ahead_log(sql: sqlite3.Connection, db_path: Path) -> None:
    row = _patiently(lambda: sql.execute("PRAGMA journal_mode = WAL").fetchone())
    if row != ("wal",):
        raise CIError(
            f"the file system of {db_path} can't share memory between processes, which SQLite's "
            "write-ahead log needs: put the database on a local disk"
        )


def _statements(script: str) -> Iterator[str]:
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    assert not pending.strip(), f"a migration ends within a statement: {pending}"


def _version(sql: sqlite3.Connection) -> int:
    version: int = sql.execute("PRAGMA user_version").fetchone()[0]
    return version


def _read_version(sql: sqlite3.Connection) -> int:
    return _patiently(lambda: _version(sql))


def _patiently(work: Callable[[], Result]) -> Result:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= deadline:
                raise
