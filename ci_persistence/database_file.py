"""Whether a file is a database of this platform, told from its first bytes.

SQLite is not asked, since opening somebody else's database may already write beside it. The header
can be trusted for this: the schema is made before the file gets its write-ahead log, so the
application's id is in the file itself from the first commit on.
"""

from enum import Enum, auto
from pathlib import Path

from ci_common.errors import SchemaMismatch

APPLICATION_ID = 0x43494A42
"""As in the first migration."""
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_APPLICATION_ID_OFFSET = 68


class FileKind(Enum):
    """What lies at a database's path."""

    EMPTY = auto()
    OURS = auto()
    FOREIGN = auto()


def kind_of(db_path: Path) -> FileKind:
    """Look without touching; a file that doesn't exist is an empty one."""
    try:
        with db_path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return FileKind.EMPTY
    except IsADirectoryError:
        return FileKind.FOREIGN
    if not header:
        return FileKind.EMPTY
    if _is_being_restored(db_path) and not header.startswith(_MAGIC):
        return FileKind.OURS
    application_id = int.from_bytes(header[_APPLICATION_ID_OFFSET : _APPLICATION_ID_OFFSET + 4], "big")
    is_ours = header.startswith(_MAGIC) and application_id == APPLICATION_ID
    return FileKind.OURS if is_ours else FileKind.FOREIGN


def foreign(db_path: Path) -> SchemaMismatch:
    """The refusal of a foreign file."""
    return SchemaMismatch(
        f"{db_path} is not a database of this platform (an earlier system's can't be used either); it was "
        "left as it is: name another file with --db-path or CI_DB_PATH, or move this one away"
    )


def size_bytes(db_path: Path) -> int:
    """Of the database without its write-ahead log; 0 where there is no file."""
    return _size_bytes(db_path)


def wal_bytes(db_path: Path) -> int:
    """Of the write-ahead log, which stays as large as it ever was until it is moved whole."""
    return _size_bytes(db_path.with_name(db_path.name + "-wal"))


def _is_being_restored(db_path: Path) -> bool:
    # Power was lost while the schema was made: SQLite undoes that by its journal when it opens the
    # file, and until then the first page may be missing.
    return _size_bytes(db_path.with_name(db_path.name + "-journal")) > 0


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
