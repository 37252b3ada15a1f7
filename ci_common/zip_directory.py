"""Reads the directory of a zip archive strictly, one record at a time, trusting none of its figures.

The standard library's reader takes whatever number of entries there is into memory, tolerates bytes
before and behind the archive, cuts names at NUL and doesn't look for overlaps; archives come from
strangers here. The central directory is the only source of names and sizes; local headers serve to
find the data.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ci_common.bundle_paths import rejected
from ci_common.errors import BundleRejected

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_RECORD = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_MAX_COMMENT_BYTES = 0xFFFF
_FULL_16 = 0xFFFF
_FULL_32 = 0xFFFFFFFF

_EXTRA_ZIP64 = 0x0001
_EXTRA_TIMESTAMP = 0x5455
_EXTRA_UNICODE_PATH = 0x7075
_FLAG_UTF8 = 0x800

NOT_A_ZIP = "the upload is not a zip archive, or its end is missing"
BAD_DIRECTORY = "the archive's directory is damaged"


@dataclass(frozen=True, slots=True)
class DirectoryExtent:
    """Where the central directory lies and how many records it announces."""

    offset: int
    size_bytes: int
    count: int


@dataclass(frozen=True, slots=True)
class ZipRecord:
    """One record of the central directory, decoded but not judged."""

    name: str
    flags: int
    method: int
    crc: int
    compressed_bytes: int
    size_bytes: int
    header_offset: int
    unix_mode: int
    """0 where the archive was made on a system without."""
    dos_directory: bool
    timestamp: int | None
    """Seconds since 1970, where the archive holds them exactly."""
    dos_date: int
    dos_time: int
    least_end: int
    """The data ends there at the earliest."""


def locate_directory(file: BinaryIO) -> DirectoryExtent:
    """Find the directory; the archive must end where the file ends.

    Raises:
        BundleRejected: no archive, cut off, followed by other bytes, or in several volumes.
    """
    file_bytes = file.seek(0, os.SEEK_END)
    end_offset, end = _find_end(file, file_bytes)
    _, disk, first_disk, disk_count, count, size_bytes, offset, _ = end
    full = _FULL_16 in {disk_count, count} or _FULL_32 in {size_bytes, offset}
    if full or offset + size_bytes != end_offset:
        extent64 = _extent64(file, end_offset)
        if extent64 is not None:
            return extent64
    if disk or first_disk or disk_count != count:
        raise BundleRejected("the archive consists of several volumes; send it as a single one")
    if offset + size_bytes != end_offset:
        raise BundleRejected("the archive holds bytes outside of its entries, or is damaged; zip it again")
    return DirectoryExtent(offset=offset, size_bytes=size_bytes, count=count)


def _find_end(file: BinaryIO, file_bytes: int) -> tuple[int, tuple[bytes, int, int, int, int, int, int, int]]:
    tail_offset = max(0, file_bytes - _END.size - _MAX_COMMENT_BYTES)
    tail = _read_at(file, tail_offset, file_bytes - tail_offset)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise BundleRejected(NOT_A_ZIP)
    end = _END.unpack_from(tail, at)
    if at + _END.size + end[7] != len(tail):
        raise BundleRejected("the archive is followed by other bytes, or its end is cut off")
    return tail_offset + at, end


def _extent64(file: BinaryIO, end_offset: int) -> DirectoryExtent | None:
    locator_offset = end_offset - _END64_LOCATOR.size
    if locator_offset < _END64.size:
        return None
    mark, _, end64_offset, _ = _END64_LOCATOR.unpack(_read_at(file, locator_offset, _END64_LOCATOR.size))
    if mark != b"PK\x06\x07":
        return None
    if end64_offset > locator_offset - _END64.size:
        raise BundleRejected(BAD_DIRECTORY)
    fields = _END64.unpack(_read_at(file, end64_offset, _END64.size))
    mark, record_bytes, _, _, disk, first_disk, disk_count, count, size_bytes, offset = fields
    if mark != b"PK\x06\x06" or end64_offset + 12 + record_bytes != locator_offset:
        raise BundleRejected(BAD_DIRECTORY)
    if disk or first_disk or disk_count != count:
        raise BundleRejected("the archive consists of several volumes; send it as a single one")
    if offset + size_bytes != end64_offset:
        raise BundleRejected("the archive holds bytes outside of its entries, or is damaged; zip it again")
    return DirectoryExtent(offset=offset, size_bytes=size_bytes, count=count)


def _read_at(file: BinaryIO, offset: int, size_bytes: int) -> bytes:
    file.seek(offset)
    data = file.read(size_bytes)
    if len(data) != size_bytes:
        raise BundleRejected(NOT_A_ZIP)
    return data


def records(file: BinaryIO, extent: DirectoryExtent) -> Iterator[ZipRecord]:
    """The records in the directory's order; the file must not be used otherwise meanwhile.

    Raises:
        BundleRejected: damaged, or another number of records than announced.
    """
    file.seek(extent.offset)
    left = extent.size_bytes
    for _ in range(extent.count):
        if left < _RECORD.size:
            raise BundleRejected(BAD_DIRECTORY)
        head = file.read(_RECORD.size)
        if len(head) != _RECORD.size or head[:4] != b"PK\x01\x02":
            raise BundleRejected(BAD_DIRECTORY)
        fields = _RECORD.unpack(head)
        name_bytes, extra_bytes, comment_bytes = fields[10:13]
        left -= _RECORD.size + name_bytes + extra_bytes + comment_bytes
        rest = file.read(name_bytes + extra_bytes + comment_bytes)
        if left < 0 or len(rest) != name_bytes + extra_bytes + comment_bytes:
            raise BundleRejected(BAD_DIRECTORY)
        yield _record(fields, rest[:name_bytes], rest[name_bytes : name_bytes + extra_bytes])
    if left:
        raise BundleRejected(BAD_DIRECTORY)


def _record(fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> ZipRecord:
    flags, method, dos_time, dos_date, crc, compressed, size = fields[3:10]
    first_disk, external, offset = fields[13], fields[15], fields[16]
    extras = _extras(extra)
    name = _name(raw_name, flags, extras.get(_EXTRA_UNICODE_PATH))
    if _FULL_32 in {compressed, size, offset}:
        size, compressed, offset = _widened(name, (size, compressed, offset), extras.get(_EXTRA_ZIP64, b""))
    if first_disk not in {0, _FULL_16}:
        raise rejected(name, "lies in another volume")
    return ZipRecord(
        name=name,
        flags=flags,
        method=method,
        crc=crc,
        compressed_bytes=compressed,
        size_bytes=size,
        header_offset=offset,
        unix_mode=external >> 16,
        dos_directory=bool(external & 0x10),
        timestamp=_timestamp(extras.get(_EXTRA_TIMESTAMP)),
        dos_date=dos_date,
        dos_time=dos_time,
        least_end=offset + _LOCAL.size + len(raw_name) + compressed,
    )


def _extras(extra: bytes) -> dict[int, bytes]:
    """The extra fields by their ids. Padding and nonsense at the end, which some writers leave, count
    as absent."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        kind, size_bytes = struct.unpack_from("<2H", extra, at)
        data = extra[at + 4 : at + 4 + size_bytes]
        if len(data) == size_bytes:
            found.setdefault(kind, data)
        at += 4 + size_bytes
    return found


def _widened(name: str, narrow: tuple[int, int, int], field: bytes) -> tuple[int, int, int]:
    """Size, compressed size and offset, each taken from the zip64 field where it is full."""
    wide: list[int] = []
    at = 0
    for value in narrow:
        if value != _FULL_32:
            wide.append(value)
            continue
        if at + 8 > len(field):
            raise rejected(name, "lacks its zip64 sizes")
        wide.append(int.from_bytes(field[at : at + 8], "little"))
        at += 8
    return wide[0], wide[1], wide[2]


def _name(raw: bytes, flags: int, unicode_path: bytes | None) -> str:
    if flags & _FLAG_UTF8:
        return _utf8(raw)
    if raw.isascii():
        return raw.decode("ascii")
    if unicode_path is not None and _belongs_to(unicode_path, raw):
        return _utf8(unicode_path[5:])
    return raw.decode("cp437")


def _belongs_to(unicode_path: bytes, raw: bytes) -> bool:
    version, crc = unicode_path[:1], int.from_bytes(unicode_path[1:5], "little")
    return len(unicode_path) > 5 and version == b"\x01" and crc == zlib.crc32(raw)


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise rejected(raw.decode(errors="backslashreplace"), "has a name that is not UTF-8") from None


def _timestamp(field: bytes | None) -> int | None:
    if field is None or len(field) < 5 or not field[0] & 1:
        return None
    return int.from_bytes(field[1:5], "little", signed=True)


def data_offset(file: BinaryIO, record: ZipRecord) -> int:
    """Where the record's data begin, by its local header.

    Raises:
        BundleRejected: there is no such header.
    """
    file.seek(record.header_offset)
    head = file.read(_LOCAL.size)
    if len(head) != _LOCAL.size or head[:4] != b"PK\x03\x04":
        raise rejected(record.name, "is damaged: its header is missing")
    fields = _LOCAL.unpack(head)
    return record.header_offset + _LOCAL.size + fields[9] + fields[10]
