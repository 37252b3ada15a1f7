"""The records of a zip archive as bytes: for the client that packs, and the server that composes. Pure.

Times stand in it twice: in the format's own two-second steps, and exactly where they fit into 32 bits.
"""

import struct
import time
from dataclasses import dataclass

_LOCAL = struct.Struct("<4s5H3L2H")
_RECORD = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")

_FULL_16 = 0xFFFF
_FULL_32 = 0xFFFFFFFF
_VERSION, _VERSION_64 = 20, 45
_UNIX = 3
_FLAG_UTF8 = 0x800
_DOS_DIRECTORY = 0x10
_FIRST_YEAR, _LAST_YEAR = 1980, 2107

STORED = 0
DEFLATED = 8
WIDE_BYTES = 0xF0000000
"""From here on an entry's sizes are written in 64 bits: deflate may make a little more of its input."""
REFERENCE = 0x4349
"""Our own: in place of packed data an entry holds the SHA-256 of what belongs there."""


@dataclass(slots=True)
class ZipEntry:
    """One entry; what is known only behind its data may be set later."""

    name: bytes
    """Of a directory with a slash at its end."""
    mode: int
    timestamp: int | None = None
    """Seconds since 1970, where they are known exactly."""
    dos_date: int = 1 << 5 | 1
    dos_time: int = 0
    method: int = STORED
    crc: int = 0
    compressed_bytes: int = 0
    size_bytes: int = 0
    header_offset: int = 0
    is_dos_directory: bool = False
    is_wide: bool = False
    """Whether there is room for sizes of 64 bits; decided before the data come."""

    def local_header(self) -> bytes:
        """What stands before the data; its length doesn't depend on what the data turn out to be."""
        extra = self._exact_time()
        if self.is_wide:
            extra = struct.pack("<2H2Q", 1, 16, self.size_bytes, self.compressed_bytes) + extra
        head = _LOCAL.pack(
            b"PK\x03\x04", self._version, self._flags, self.method, self.dos_time, self.dos_date,
            self.crc, *self._narrow_sizes, len(self.name), len(extra),
        )  # fmt: skip
        return head + self.name + extra

    def record(self) -> bytes:
        """What stands in the archive's directory."""
        is_far = self.header_offset >= _FULL_32
        wide = [self.size_bytes, self.compressed_bytes] if self.is_wide else []
        wide += [self.header_offset] if is_far else []
        extra = self._exact_time()
        if wide:
            extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) + extra
        version = _VERSION_64 if wide else _VERSION
        head = _RECORD.pack(
            b"PK\x01\x02", _UNIX << 8 | version, version, self._flags, self.method, self.dos_time,
            self.dos_date, self.crc, *self._narrow_sizes, len(self.name), len(extra), 0, 0, 0,
            self.mode << 16 | (_DOS_DIRECTORY if self.is_dos_directory else 0),
            _FULL_32 if is_far else self.header_offset,
        )  # fmt: skip
        return head + self.name + extra

    @property
    def _narrow_sizes(self) -> tuple[int, int]:
        return (_FULL_32, _FULL_32) if self.is_wide else (self.compressed_bytes, self.size_bytes)

    @property
    def _version(self) -> int:
        return _VERSION_64 if self.is_wide else _VERSION

    @property
    def _flags(self) -> int:
        return 0 if self.name.isascii() else _FLAG_UTF8

    def _exact_time(self) -> bytes:
        if self.timestamp is None:
            return b""
        return struct.pack("<2HBi", 0x5455, 5, 1, self.timestamp)


def end_of_archive(count: int, offset: int, size_bytes: int) -> bytes:
    """What stands behind a directory of `count` records at `offset`."""
    end64 = b""
    if count >= _FULL_16 or offset >= _FULL_32 or size_bytes >= _FULL_32:
        end64 = _END64.pack(
            b"PK\x06\x06", 44, _VERSION_64, _VERSION_64, 0, 0, count, count, size_bytes, offset
        ) + _END64_LOCATOR.pack(b"PK\x06\x07", 0, offset + size_bytes, 1)
    narrow_count = min(count, _FULL_16)
    end = _END.pack(
        b"PK\x05\x06", 0, 0, narrow_count, narrow_count, min(size_bytes, _FULL_32), min(offset, _FULL_32), 0
    )
    return end64 + end


def timed(entry: ZipEntry, mtime: float) -> ZipEntry:
    """`entry`, with its times set from one in seconds since 1970."""
    seconds = int(mtime // 1)
    entry.timestamp = seconds if -(1 << 31) <= seconds < 1 << 31 else None
    year, month, day, hour, minute, second = _dos_moment(mtime)
    entry.dos_date = (year - _FIRST_YEAR) << 9 | month << 5 | day
    entry.dos_time = hour << 11 | minute << 5 | second // 2
    return entry


def _dos_moment(mtime: float) -> tuple[int, int, int, int, int, int]:
    try:
        moment = time.gmtime(mtime)
    except (OverflowError, ValueError, OSError):
        moment = time.gmtime(0)
    if moment.tm_year < _FIRST_YEAR:
        return (_FIRST_YEAR, 1, 1, 0, 0, 0)
    if moment.tm_year > _LAST_YEAR:
        return (_LAST_YEAR, 12, 31, 23, 59, 58)
    return (
        moment.tm_year, moment.tm_mon, moment.tm_mday, moment.tm_hour, moment.tm_min, min(moment.tm_sec, 59),
    )  # fmt: skip
