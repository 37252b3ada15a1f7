"""A copy of the database while everything runs, checked before it gets its name.

Jobs, events, users and keys are in it; the uploaded archives of unfinished jobs are not, so such jobs
end with `bad_bundle` after a restore.
"""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ci_common.errors import AlreadyExists, CIError
from ci_persistence.connections import connect_reader, translated
from ci_persistence.database_file import FileKind, foreign, kind_of
from ci_persistence.shared_files import sync_folder


async def backup(db_path: Path, target: Path) -> None:
    """Copy the database as it is at one moment to a new file, which is whole when it appears.

    Raises:
        AlreadyExists: there is something at `target`.
        SchemaMismatch: `db_path` is no database of this platform.
        CIError: the copy is damaged, and so, most likely, is the original; no copy was kept.
    """
    await asyncio.to_thread(_backup, db_path, target)


def _backup(db_path: Path, target: Path) -> None:
    if kind_of(db_path) is not FileKind.OURS:
        raise foreign(db_path)
    if target.exists():
        raise AlreadyExists(f"{target} exists already; name a new file for the backup")
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    try:
        # It holds the hashes of keys: its owner's alone until somebody decides otherwise.
        partial.touch(mode=0o600, exist_ok=False)
        try:
            _copy(db_path, partial)
        except sqlite3.Error as error:
            raise translated(error, db_path) from error
        try:
            target.hardlink_to(partial)  # unlike a rename, it never replaces
        except FileExistsError:
            raise AlreadyExists(f"{target} exists already; name a new file for the backup") from None
        sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def _copy(db_path: Path, target: Path) -> None:
    with closing(connect_reader(db_path)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        # Back to a single file; whoever opens it as a database turns the write-ahead log on again.
        copy.execute("PRAGMA journal_mode = DELETE")
        faults = [str(row[0]) for row in copy.execute("PRAGMA integrity_check").fetchall()]
    if faults != ["ok"]:
        raise CIError(f"the database {db_path} is damaged, no backup was kept: {'; '.join(faults[:5])}")
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
