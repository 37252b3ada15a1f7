"""Writes zip archives field by field, so that a test can make any of them lie."""

import struct
import zlib
from dataclasses import dataclass, field


@dataclass
class RawEntry:
    """One entry; what is None is filled in truthfully."""

    name: bytes
    data: bytes = b""
    mode: int = 0o100644
    method: int = 8
    flags: int = 0x800
    packed: bytes | None = None
    size: int | None = None
    compressed: int | None = None
    crc: int | None = None
    offset: int | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    dos_date: int = (2020 - 1980) << 9 | 1 << 5 | 1
    dos_time: int = 0
    create_system: int = 3
    dos_attributes: int = 0


@dataclass
class RawZip:
    """A whole archive; `count`, `end_disk` and the rest override what the end record says."""

    entries: list[RawEntry]
    count: int | None = None
    disk: int = 0
    comment: bytes = b""
    directory_offset: int | None = None
    between: bytes = b""
    written: list[int] = field(default_factory=list[int])

    def build(self) -> bytes:
        body = bytearray()
        directory = bytearray()
        for entry in self.entries:
            packed = _packed(entry)
            offset = len(body)
            body += _local(entry, packed) + packed
            directory += _central(entry, packed, offset if entry.offset is None else entry.offset)
        start = len(body) if self.directory_offset is None else self.directory_offset
        count = len(self.entries) if self.count is None else self.count
        end = struct.pack(
            "<4s4H2LH",
            b"PK\x05\x06",
            self.disk,
            self.disk,
            count,
            count,
            len(directory),
            start,
            len(self.comment),
        )
        return bytes(body) + bytes(directory) + self.between + end + self.comment


def _packed(entry: RawEntry) -> bytes:
    if entry.packed is not None:
        return entry.packed
    if entry.method != 8:
        return entry.data
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    return deflater.compress(entry.data) + deflater.flush()


def _sizes(entry: RawEntry, packed: bytes) -> tuple[int, int, int]:
    crc = zlib.crc32(entry.data) if entry.crc is None else entry.crc
    compressed = len(packed) if entry.compressed is None else entry.compressed
    size = len(entry.data) if entry.size is None else entry.size
    return crc, compressed, size


def _local(entry: RawEntry, packed: bytes) -> bytes:
    head = struct.pack(
        "<4s5H3L2H",
        b"PK\x03\x04",
        20,
        entry.flags,
        entry.method,
        entry.dos_time,
        entry.dos_date,
        *_sizes(entry, packed),
        len(entry.name),
        len(entry.local_extra),
    )
    return head + entry.name + entry.local_extra


def _central(entry: RawEntry, packed: bytes, offset: int) -> bytes:
    head = struct.pack(
        "<4s4B4H3L5H2L",
        b"PK\x01\x02",
        20,
        entry.create_system,
        20,
        0,
        entry.flags,
        entry.method,
        entry.dos_time,
        entry.dos_date,
        *_sizes(entry, packed),
        len(entry.name),
        len(entry.extra),
        0,
        0,
        0,
        entry.mode << 16 | entry.dos_attributes,
        offset,
    )
    return head + entry.name + entry.extra
