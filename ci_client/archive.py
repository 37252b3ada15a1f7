"""Writes the chosen files into a zip: streamed, the same bytes for the same project, any size and date.

A file is opened once, and what it then holds, up to the size that it has at that moment, is its entry:
whatever happens to it meanwhile, the entry is consistent. Memory is bounded.

A file whose content the server has may stand in it by its SHA-256 alone.
"""

import os
import re
import stat
import sys
import time
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ci_client import digest_cache
from ci_client.archive_file import ArchiveTarget
from ci_client.digest_cache import Digest
from ci_client.problems import BadUse, cause_of
from ci_client.selection import Entry
from ci_common.bundle import EntryKind
from ci_common.bundle_paths import shown
from ci_common.zip_writer import (
    DEFLATED,
    REFERENCE,
    STORED,
    WIDE_BYTES,
    ZipEntry,
    end_of_archive,
    timed,
)

SMALL_BYTES = 1 << 20
"""Projects that hold no more are quicker sent than compared."""
REFERENCE_BYTES = 64
"""A file that is no longer costs less than naming it."""
_CHUNK_BYTES = 1 << 20
_LEVEL = 1
_NOT_WORTH_DEFLATING_BYTES = 64
_COMPRESSED_ALREADY = re.compile(
    r"\.(7z|avif|br|bz2|docx|egg|gif|gz|jar|jpe?g|lz4|m4a|mkv|mov|mp[34]|npz|og[gv]|parquet|pdf|png|pptx|tgz"
    r"|web[mp]|whl|woff2?|xlsx|xz|zip|zst)\Z",
    re.IGNORECASE,
)


class ArchiveWriter:
    """A zip that grows entry by entry in `file`, which must allow seeking."""

    def __init__(
        self,
        root: Path,
        file: ArchiveTarget,
        executables: frozenset[str] | None,
        *,
        notes_digests: bool = False,
    ) -> None:
        self._root = root
        self._file = file
        self._position = 0
        self._directory: list[bytes] = []
        self._executables = executables
        """Where the disk doesn't know which files are executable, those that are."""
        self._notes_digests = notes_digests
        self.remarks: list[str] = []
        self.digests: dict[str, Digest] = {}
        """Of the files, as far as it is known and worth knowing."""
        self.reference_count = 0
        self.read_bytes = 0
        """Bytes of the project's files so far."""

    def add(self, entry: Entry, pause: Callable[[], None]) -> None:
        """Append one entry; `pause` is called now and then, and may raise to end it all.

        Raises:
            BadUse: a file can't be read.
            OSError: the archive can't be written.
        """
        if entry.kind is EntryKind.DIRECTORY:
            name = (entry.path + "/").encode()
            self._append(ZipEntry(name, stat.S_IFDIR | 0o755, is_dos_directory=True), b"")
        elif entry.kind is EntryKind.SYMLINK:
            target = entry.target.encode()
            written = ZipEntry(entry.path.encode(), stat.S_IFLNK | 0o777)
            written.crc, written.size_bytes = zlib.crc32(target), len(target)
            self._append(written, target)
        else:
            self._add_file(entry.path, pause)

    def add_reference(self, path: str, found: os.stat_result, digest: Digest) -> None:
        """Append a file that is only named; `found` is its state.

        Raises:
            OSError: the archive can't be written.
        """
        written = self._file_entry(path, found)
        written.method = REFERENCE
        written.size_bytes = found.st_size
        self._append(written, digest.sha256)
        self.digests[path] = digest
        self.reference_count += 1

    def close(self) -> None:
        """Write the directory.

        Raises:
            OSError: it can't be written.
        """
        directory = b"".join(self._directory)
        end = end_of_archive(len(self._directory), self._position, len(directory))
        self._write(directory + end)
        self._file.flush()

    def _add_file(self, path: str, pause: Callable[[], None]) -> None:
        read_at_ns = time.time_ns()
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
            written = self._file_entry(path, before)
            written.method = _method(path, before.st_size)
            self._notes_digests = self._notes_digests or self.read_bytes + before.st_size > SMALL_BYTES
            digest = self._copy(path, source, before.st_size, written, pause)
            with _reading(path):
                after = os.fstat(source.fileno())
        if written.size_bytes != before.st_size or (after.st_size, after.st_mtime_ns) != (
            before.st_size,
            before.st_mtime_ns,
        ):
            self.remarks.append(f"{shown(path)} changed while it was read; it is sent as it was found")
        elif digest is not None:
            self.digests[path] = digest_cache.noted(digest, after, read_at_ns)

    def _file_entry(self, path: str, found: os.stat_result) -> ZipEntry:
        mode = stat.S_IFREG | (0o755 if self._is_executable(path, found) else 0o644)
        written = timed(ZipEntry(path.encode(), mode), found.st_mtime)
        written.is_wide = found.st_size >= WIDE_BYTES
        return written

    def _copy(
        self, path: str, source: BinaryIO, left: int, written: ZipEntry, pause: Callable[[], None]
    ) -> bytes | None:
        """Append the file's content; its SHA-256, if that is of use."""
        deflater = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        hasher = None
        if self._notes_digests:
            import hashlib  # noqa: PLC0415 - small projects need none, and the import takes time

            hasher = hashlib.sha256()
        is_in_one_piece = left <= _CHUNK_BYTES
        if not is_in_one_piece:
            written.header_offset = self._position
            self._write(written.local_header())
        packed = b""
        while left:
            pause()
            with _reading(path):
                chunk = source.read(min(left, _CHUNK_BYTES))
            if not chunk:
                break
            left -= len(chunk)
            written.size_bytes += len(chunk)
            written.crc = zlib.crc32(chunk, written.crc)
            if hasher is not None:
                hasher.update(chunk)
            packed = deflater.compress(chunk) if written.method == DEFLATED else chunk
            if not is_in_one_piece:
                self._write(packed)
                written.compressed_bytes += len(packed)
                packed = b""
        if written.method == DEFLATED:
            packed += deflater.flush()
        self.read_bytes += written.size_bytes
        if is_in_one_piece:
            self._append(written, packed)
        else:
            self._write(packed)
            written.compressed_bytes += len(packed)
            self._correct_header(written)
        return None if hasher is None else hasher.digest()

    def _append(self, written: ZipEntry, packed: bytes) -> None:
        """An entry whose data are there as a whole."""
        written.header_offset = self._position
        written.compressed_bytes = len(packed)
        self._write(written.local_header() + packed)
        self._directory.append(written.record())

    def _correct_header(self, written: ZipEntry) -> None:
        """Write again, behind its data, what stands before them."""
        self._file.seek(written.header_offset)
        self._file.write(written.local_header())
        self._file.seek(self._position)
        self._directory.append(written.record())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._position += len(data)

    def _is_executable(self, path: str, found: os.stat_result) -> bool:
        if self._executables is not None:
            return path in self._executables
        return bool(found.st_mode & stat.S_IXUSR)


def read_again(
    root: Path, path: str, known: Digest, pause: Callable[[], None]
) -> tuple[os.stat_result, Digest] | None:
    """The file's state, and what is to be noted of it, if it still holds what is known; else None.

    None also where it can't be read: adding it tells why.
    """
    import hashlib  # noqa: PLC0415 - small projects need none, and the import takes time

    read_at_ns = time.time_ns()
    hasher = hashlib.sha256()
    try:
        with os.fdopen(_open(root / path), "rb", buffering=0) as source:
            before = os.fstat(source.fileno())
            if not stat.S_ISREG(before.st_mode) or before.st_size != known.size_bytes:
                return None
            left = before.st_size
            while left and (chunk := source.read(min(left, _CHUNK_BYTES))):
                pause()
                hasher.update(chunk)
                left -= len(chunk)
            after = os.fstat(source.fileno())
    except OSError:
        return None
    is_settled = (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    if not is_settled or hasher.digest() != known.sha256:
        return None
    return after, digest_cache.noted(known.sha256, after, read_at_ns)


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


def _method(path: str, size_bytes: int) -> int:
    is_stored = size_bytes <= _NOT_WORTH_DEFLATING_BYTES or _COMPRESSED_ALREADY.search(path)
    return STORED if is_stored else DEFLATED
