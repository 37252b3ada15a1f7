"""Whether a file is a database of this platform, told from its first bytes.

SQLite is not asked, since opening somebody else's database may already write beside it. The header
can be trusted for this: the schema is made before the file gets its write-ahead log, so the
application's id is in the file itself from the first commit on.

Invariant: a file that SQLite has open in this process is never opened here. Closing it again would
release all the locks that this process has on it; seen: another process then took itself for the last
one and removed the write-ahead log that was in use.
"""

import threading
from collections import Counter
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


FileIdentity = tuple[int, int]
"""Device and inode: the same for all names of a file."""


class OpenFiles:
    """Which files SQLite has open in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: Counter[FileIdentity] = Counter()

    def begin(self, db_path: Path) -> FileIdentity | None:
        """A connection is about to be made; None where there is no file to connect to."""
        with self._lock:
            identity = _identity(db_path)
            if identity is not None:
                self._connections[identity] += 1
            return identity

    def end(self, identity: FileIdentity) -> None:
        """A connection is closed."""
        with self._lock:
            self._connections[identity] -= 1

    def header(self, db_path: Path) -> bytes | None:
        """The first bytes of a file; None where SQLite has it open.

        Raises:
            OSError: it can't be read.
        """
        with self._lock:
            identity = _identity(db_path)
            if identity is not None and self._connections[identity] > 0:
                return None
            with db_path.open("rb") as file:
                return file.read(_HEADER_BYTES)


OPEN_FILES = OpenFiles()


def kind_of(db_path: Path) -> FileKind:
    """Look without touching; a file that doesn't exist is an empty one.

    What this process has open was looked at before that.
    """
    try:
        header = OPEN_FILES.header(db_path)
    except FileNotFoundError:
        return FileKind.EMPTY
    except IsADirectoryError:
        return FileKind.FOREIGN
    if header is None:
        return FileKind.OURS
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


def _identity(db_path: Path) -> FileIdentity | None:
    try:
        status = db_path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
