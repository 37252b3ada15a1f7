"""Writes the chosen files into a zip: streamed, the same bytes for the same project, any size and date.

A file is opened once, and what it then holds, up to the size that it has at that moment, is its entry:
whatever happens to it meanwhile, the entry is consistent. Memory is bounded.
"""

import os
import re
import stat
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ci_client.problems import BadUse, cause_of
from ci_client.selection import Entry
from ci_common.bundle import EntryKind
from ci_common.bundle_paths import shown

_CHUNK_BYTES = 1 << 20
_LEVEL = 1
_FIRST_YEAR, _LAST_YEAR = 1980, 2107
_NOT_WORTH_DEFLATING_BYTES = 64
_COMPRESSED_ALREADY = re.compile(
    r"\.(7z|avif|br|bz2|docx|egg|gif|gz|jar|jpe?g|lz4|m4a|mkv|mov|mp[34]|npz|og[gv]|parquet|pdf|png|pptx|tgz"
    r"|web[mp]|whl|woff2?|xlsx|xz|zip|zst)\Z",
    re.IGNORECASE,
)
_UNIX = 3
_DOS_DIRECTORY = 0x10
_EXTENDED_TIMESTAMP = 0x5455
_HAS_MTIME = 1


class ArchiveWriter:
    """A zip that grows entry by entry in `file`, which must allow seeking."""

    def __init__(self, root: Path, file: BinaryIO, executables: frozenset[str] | None) -> None:
        self._root = root
        self._zip = zipfile.ZipFile(file, "w", allowZip64=True)
        self._executables = executables
        """Where the disk doesn't know which files are executable, those that are."""
        self.remarks: list[str] = []
        self.read_bytes = 0
        """Bytes of the project's files so far."""

    def add(self, entry: Entry, pause: Callable[[], None]) -> None:
        """Append one entry; `pause` is called now and then, and may raise to end it all.

        Raises:
            BadUse: a file can't be read.
            OSError: the archive can't be written.
        """
        if entry.kind is EntryKind.DIRECTORY:
            info = _info(entry.path + "/", stat.S_IFDIR | 0o755, None)
            info.external_attr |= _DOS_DIRECTORY
            self._zip.writestr(info, b"")
        elif entry.kind is EntryKind.SYMLINK:
            self._zip.writestr(_info(entry.path, stat.S_IFLNK | 0o777, None), entry.target.encode())
        else:
            self._add_file(entry.path, pause)

    def close(self) -> None:
        """Write the directory.

        Raises:
            OSError: it can't be written.
        """
        self._zip.close()

    def _add_file(self, path: str, pause: Callable[[], None]) -> None:
        with _reading(path):
            try:
                descriptor = _open(self._root / path)
            except FileNotFoundError:
                self.remarks.append(f"{shown(path)} disappeared while it was read; it is not sent")
                return
        with os.fdopen(descriptor, "rb", buffering=0) as source:
            before = os.fstat(source.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise BadUse(f"{shown(path)} was replaced by something else while it was read; submit again")
            info = _info(
                path, stat.S_IFREG | (0o755 if self._is_executable(path, before) else 0o644), before.st_mtime
            )
            info.compress_type = _method(path, before.st_size)
            info._compresslevel = _LEVEL  # pyright: ignore[reportAttributeAccessIssue] - public from Python 3.13 on
            info.file_size = before.st_size  # zipfile then chooses zip64 where it is needed
            read_bytes = self._copy(path, source, info, pause)
            with _reading(path):
                after = os.fstat(source.fileno())
        if read_bytes != before.st_size or (after.st_size, after.st_mtime_ns) != (
            before.st_size,
            before.st_mtime_ns,
        ):
            self.remarks.append(f"{shown(path)} changed while it was read; it is sent as it was found")

    def _copy(self, path: str, source: BinaryIO, info: zipfile.ZipInfo, pause: Callable[[], None]) -> int:
        left = info.file_size
        with self._zip.open(info, "w") as target:
            while left:
                pause()
                with _reading(path):
                    chunk = source.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    break
                target.write(chunk)
                left -= len(chunk)
                self.read_bytes += len(chunk)
        return info.file_size

    def _is_executable(self, path: str, found: os.stat_result) -> bool:
        if self._executables is not None:
            return path in self._executables
        return bool(found.st_mode & stat.S_IXUSR)


@contextmanager
def _reading(path: str) -> Generator[None]:
    """Tells a fault of the project's file from one of the archive's."""
    try:
        yield
    except OSError as error:
        raise BadUse(f"{shown(path)} can't be read: {cause_of(error)}; or name it in .ciignore") from error


def _open(path: Path) -> int:
    if sys.platform == "win32":
        return os.open(path, os.O_RDONLY | os.O_BINARY | os.O_NOINHERIT)
    # A pipe or link that has just taken the file's place must neither block nor lead elsewhere.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)


def _info(name: str, mode: int, mtime: float | None) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = _UNIX
    info.external_attr = mode << 16
    if mtime is not None:
        info.date_time = _dos_time(mtime)
        seconds = int(mtime // 1)
        if -(1 << 31) <= seconds < 1 << 31:
            info.extra = struct.pack("<HHBi", _EXTENDED_TIMESTAMP, 5, _HAS_MTIME, seconds)
    return info


def _dos_time(mtime: float) -> tuple[int, int, int, int, int, int]:
    try:
        moment = time.gmtime(mtime)
    except (OverflowError, ValueError, OSError):
        moment = time.gmtime(0)
    if moment.tm_year < _FIRST_YEAR:
        return (_FIRST_YEAR, 1, 1, 0, 0, 0)
    if moment.tm_year > _LAST_YEAR:
        return (_LAST_YEAR, 12, 31, 23, 59, 58)
    return (
        moment.tm_year,
        moment.tm_mon,
        moment.tm_mday,
        moment.tm_hour,
        moment.tm_min,
        min(moment.tm_sec, 59),
    )


def _method(path: str, size_bytes: int) -> int:
    is_stored = size_bytes <= _NOT_WORTH_DEFLATING_BYTES or _COMPRESSED_ALREADY.search(path)
    return zipfile.ZIP_STORED if is_stored else zipfile.ZIP_DEFLATED
