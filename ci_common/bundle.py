"""What an uploaded archive may hold, and the only way to read one: server and controller use it alike.

An archive that `read_bundle` has passed holds only files, directories and symlinks that stay inside,
each name once, within the limits of count and of announced size. Whether the data keep to what is
announced shows when they are read: `chunks` and `verify` count real bytes and stop there. Nothing is
ever unpacked on the host, memory stays bounded, and modes are reduced to one executable bit.

A submission may name contents that the server has instead of holding them. Such an archive is judged
in the same way, with `references_allowed`; it is never a job's bundle, but what one is composed of.

All calls block. A `Bundle` is for one thread at a time, since it moves its file's position.
"""

import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from itertools import pairwise
from typing import BinaryIO

from ci_common.bundle_paths import check_links, check_tree, checked_path, rejected
from ci_common.errors import BundleRejected
from ci_common.zip_directory import (
    NOT_A_ZIP,
    DirectoryExtent,
    ZipRecord,
    data_offset,
    locate_directory,
    records,
)
from ci_common.zip_writer import DEFLATED, REFERENCE, STORED

DIGEST_BYTES = 32
"""Of a SHA-256, by which a content is named."""
_FLAGS_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_FLAG_PATCH = 0x0020
_MAX_TARGET_BYTES = 4095
_DEFLATED_NOTHING_BYTES = 2
_CHUNK_BYTES = 256 * 1024
_EPOCH_DOS = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """How much an archive may hold. The defaults are what any project may have."""

    max_entries: int = 250_000
    max_unpacked_bytes: int = 16 << 30
    max_directory_bytes: int = 64 << 20
    max_path_bytes: int = 4000
    """Room is left for the folder that the project is unpacked into."""
    max_target_bytes: int = 4 << 20
    """Of all symlinks' targets together."""


class EntryKind(Enum):
    """What an entry becomes."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One thing in the archive."""

    path: str
    """Relative, with slashes, none at the end."""
    kind: EntryKind
    size_bytes: int
    """0 for directories and symlinks."""
    executable: bool
    target: str | None
    """Of a symlink, relative to its own folder."""
    mtime: int
    """Seconds since 1970, never negative."""
    record: ZipRecord = field(repr=False)
    data_limit: int = field(repr=False)
    """Its data end there at the latest: the next entry's beginning."""

    @property
    def is_reference(self) -> bool:
        """Whether the archive names its content instead of holding it."""
        return self.record.method == REFERENCE


class Bundle:
    """An archive whose directory has passed."""

    def __init__(self, file: BinaryIO, entries: Sequence[BundleEntry]) -> None:
        self.file = file
        """What it is read from."""
        self.entries: tuple[BundleEntry, ...] = tuple(entries)
        """In the archive's order: a folder need not come before what it holds."""

    def chunks(self, entry: BundleEntry) -> Iterator[bytes]:
        """A file's bytes, as many as announced.

        Raises:
            BundleRejected: the data are not what the directory announces.
        """
        assert entry.kind is EntryKind.FILE, f"{entry.path} is no file"
        assert not entry.is_reference, f"{entry.path} lies elsewhere"
        return _chunks(self.file, entry.record, entry.data_limit)

    def packed(self, entry: BundleEntry) -> tuple[int, int]:
        """Where an entry's data begin and how many bytes they are, as they lie in the file.

        Raises:
            BundleRejected: they aren't where the directory announces them.
        """
        return _data_extent(self.file, entry.record, entry.data_limit)

    def named_digest(self, entry: BundleEntry) -> bytes:
        """The SHA-256 that stands in place of a content.

        Raises:
            BundleRejected: it isn't there.
        """
        assert entry.is_reference, f"{entry.path} is held"
        offset, size_bytes = self.packed(entry)
        return b"".join(_packed(self.file, size_bytes, offset))

    def verify(self, note: Callable[[BundleEntry, bytes], None] | None = None) -> None:
        """Read everything that is held; `note` is told the SHA-256 of each file.

        Raises:
            BundleRejected: the data of an entry are not what the directory announces.
        """
        import hashlib  # noqa: PLC0415 - the client, which must start at once, never comes here

        for entry in self.entries:
            if entry.kind is not EntryKind.FILE or entry.is_reference:
                continue
            if note is None:
                for _ in self.chunks(entry):
                    pass
                continue
            digest = hashlib.sha256()
            for chunk in self.chunks(entry):
                digest.update(chunk)
            note(entry, digest.digest())


def read_bundle(file: BinaryIO, limits: BundleLimits, *, references_allowed: bool = False) -> Bundle:
    """Judge an archive by its directory; `file` must stay open as long as the bundle is used.

    Raises:
        BundleRejected: it breaks a rule; the message names the entry.
    """
    extent = locate_directory(file)
    _check_extent(extent, limits)
    found = _read_records(file, extent, limits, references_allowed=references_allowed)
    data_limits = _data_limits(found, extent)
    entries = [_entry(file, record, data_limits[record.header_offset], limits) for record in found]
    check_tree((entry.path, entry.kind is EntryKind.DIRECTORY) for entry in entries)
    check_links({entry.path: entry.target for entry in entries if entry.target is not None})
    return Bundle(file, entries)


def _check_extent(extent: DirectoryExtent, limits: BundleLimits) -> None:
    if extent.count > limits.max_entries:
        raise BundleRejected(
            f"the archive holds {extent.count} entries, more than the {limits.max_entries} allowed"
        )
    if extent.size_bytes > limits.max_directory_bytes:
        raise BundleRejected(
            f"the archive's directory takes {extent.size_bytes} bytes, "
            f"more than the {limits.max_directory_bytes} allowed"
        )
    if extent.count == 0:
        raise BundleRejected("the archive is empty")


def _read_records(
    file: BinaryIO, extent: DirectoryExtent, limits: BundleLimits, *, references_allowed: bool
) -> list[ZipRecord]:
    found: list[ZipRecord] = []
    unpacked_bytes = target_bytes = 0
    for record in records(file, extent):
        if not (references_allowed and record.method == REFERENCE):
            _check_method(record)
        elif _kind(record) is not EntryKind.FILE or record.compressed_bytes != DIGEST_BYTES:
            raise rejected(record.name, "names a content, but is no file or no SHA-256")
        _check_record(record)
        unpacked_bytes += record.size_bytes
        if unpacked_bytes > limits.max_unpacked_bytes:
            raise BundleRejected(
                f"the archive unpacks to more than the {limits.max_unpacked_bytes} bytes allowed"
            )
        if _kind(record) is EntryKind.SYMLINK:
            target_bytes += record.size_bytes
            if target_bytes > limits.max_target_bytes:
                raise BundleRejected("the archive's symlinks are too many or too long")
        found.append(record)
    return found


def _check_method(record: ZipRecord) -> None:
    if record.method not in {STORED, DEFLATED}:
        raise rejected(
            record.name, f"uses compression method {record.method}; only stored and deflate are known"
        )


def _check_record(record: ZipRecord) -> None:
    """What else one record alone tells, its name apart."""
    if record.flags & _FLAGS_ENCRYPTED:
        raise rejected(record.name, "is encrypted")
    if record.flags & _FLAG_PATCH:
        raise rejected(record.name, "is a patch, not a file")
    if record.method == STORED and record.compressed_bytes != record.size_bytes:
        raise rejected(record.name, "is stored, but announces two different sizes")
    kind = _kind(record)
    if kind is not EntryKind.DIRECTORY and record.name.endswith("/"):
        raise rejected(record.name, "is named as a directory, but is none")
    if kind is EntryKind.DIRECTORY and (
        record.size_bytes or record.compressed_bytes > _DEFLATED_NOTHING_BYTES
    ):
        raise rejected(record.name, "is a directory, but holds data")
    if kind is EntryKind.SYMLINK and not 0 < record.size_bytes <= _MAX_TARGET_BYTES:
        raise rejected(record.name, "is a symlink with an empty or overlong target")


def _kind(record: ZipRecord) -> EntryKind:
    form = stat.S_IFMT(record.unix_mode)
    if form == stat.S_IFREG:
        return EntryKind.FILE
    if form == stat.S_IFDIR:
        return EntryKind.DIRECTORY
    if form == stat.S_IFLNK:
        return EntryKind.SYMLINK
    if form != 0:
        raise rejected(record.name, "is a device, socket or pipe; only files, folders and symlinks are taken")
    named_directory = record.name.endswith("/") or record.dos_directory
    return EntryKind.DIRECTORY if named_directory else EntryKind.FILE


def _data_limits(found: Sequence[ZipRecord], extent: DirectoryExtent) -> dict[int, int]:
    """For each header's offset, where its data must have ended.

    Raises:
        BundleRejected: two entries share bytes, or one reaches into the directory.
    """
    ordered = sorted(found, key=lambda record: record.header_offset)
    limits: dict[int, int] = {}
    for record, following in pairwise(ordered):
        if record.least_end > following.header_offset:
            raise rejected(following.name, "overlaps another entry")
        limits[record.header_offset] = following.header_offset
    last = ordered[-1]
    if last.least_end > extent.offset:
        raise rejected(last.name, "is cut off, or overlaps the archive's directory")
    limits[last.header_offset] = extent.offset
    return limits


def _entry(file: BinaryIO, record: ZipRecord, data_limit: int, limits: BundleLimits) -> BundleEntry:
    kind = _kind(record)
    path = checked_path(record.name, limits.max_path_bytes)
    target = _target(file, record, data_limit) if kind is EntryKind.SYMLINK else None
    return BundleEntry(
        path=path,
        kind=kind,
        size_bytes=record.size_bytes if kind is EntryKind.FILE else 0,
        executable=kind is EntryKind.FILE and bool(record.unix_mode & stat.S_IXUSR),
        target=target,
        mtime=_mtime(record),
        record=record,
        data_limit=data_limit,
    )


def _target(file: BinaryIO, record: ZipRecord, data_limit: int) -> str:
    raw = b"".join(_chunks(file, record, data_limit))
    try:
        target = raw.decode()
    except UnicodeDecodeError:
        raise rejected(record.name, "is a symlink whose target is not UTF-8") from None
    if "\0" in target:
        raise rejected(record.name, "is a symlink whose target holds a NUL")
    return target


def _mtime(record: ZipRecord) -> int:
    if record.timestamp is not None:
        return max(0, record.timestamp)
    date, time = record.dos_date, record.dos_time
    try:
        moment = datetime(
            1980 + (date >> 9),
            (date >> 5) & 15,
            date & 31,
            time >> 11,
            (time >> 5) & 63,
            min(59, (time & 31) * 2),
            tzinfo=UTC,
        )
    except ValueError:
        return _EPOCH_DOS
    return int(moment.timestamp())


def _chunks(file: BinaryIO, record: ZipRecord, data_limit: int) -> Iterator[bytes]:
    position, packed_bytes = _data_extent(file, record, data_limit)
    packed = _packed(file, packed_bytes, position)
    plain = packed if record.method == STORED else _inflated(packed, record)
    size_bytes = crc = 0
    for chunk in plain:
        size_bytes += len(chunk)
        if size_bytes > record.size_bytes:
            raise rejected(record.name, "holds more data than it announces")
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if size_bytes != record.size_bytes:
        raise rejected(record.name, "holds less data than it announces")
    if crc != record.crc:
        raise rejected(record.name, "is damaged: its checksum doesn't match")


def _data_extent(file: BinaryIO, record: ZipRecord, data_limit: int) -> tuple[int, int]:
    position = data_offset(file, record)
    if position + record.compressed_bytes > data_limit:
        raise rejected(record.name, "overlaps another entry")
    return position, record.compressed_bytes


def _packed(file: BinaryIO, left: int, position: int) -> Iterator[bytes]:
    while left:
        file.seek(position)
        chunk = file.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise BundleRejected(NOT_A_ZIP)
        position += len(chunk)
        left -= len(chunk)
        yield chunk


def _inflated(packed: Iterator[bytes], record: ZipRecord) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for chunk in packed:
            pending = chunk
            while pending and not inflater.eof:
                plain = inflater.decompress(pending, _CHUNK_BYTES)
                pending = inflater.unconsumed_tail
                if plain:
                    yield plain
            if inflater.unused_data or pending:
                raise rejected(record.name, "is followed by bytes that belong to no entry")
        while plain := inflater.decompress(b"", _CHUNK_BYTES):
            yield plain
    except zlib.error:
        raise rejected(record.name, "is damaged: it can't be decompressed") from None
    if not inflater.eof:
        raise rejected(record.name, "is damaged: its compressed data end early")
