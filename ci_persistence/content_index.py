"""The list of a kept archive's contents, as a file beside it: rows of one length, and a checksum.

It isn't made durable: one that a power loss has torn is told by its checksum, and the archive given up.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence

from ci_common.bundle import DIGEST_BYTES
from ci_common.content_store import Content

_MARK = b"CIX1"
_ROW = struct.Struct(f"<{DIGEST_BYTES}s3QLH")


class TornIndex(ValueError):
    """It isn't whole."""


def encoded(contents: Sequence[Content]) -> bytes:
    """The file's bytes."""
    rows = b"".join(
        _ROW.pack(
            content.digest,
            content.offset,
            content.compressed_bytes,
            content.size_bytes,
            content.crc,
            content.method,
        )
        for content in contents
    )
    return _MARK + rows + hashlib.sha256(rows).digest()


def digests(data: bytes) -> Iterator[bytes]:
    """The digests alone, which is much quicker.

    Raises:
        TornIndex: the file isn't whole.
    """
    rows = _rows(data)
    return (rows[at : at + DIGEST_BYTES] for at in range(0, len(rows), _ROW.size))


def contents(data: bytes, wanted: frozenset[bytes]) -> Iterator[Content]:
    """The contents whose digests are wanted.

    Raises:
        TornIndex: the file isn't whole.
    """
    return (Content(*row) for row in _ROW.iter_unpack(_rows(data)) if row[0] in wanted)


def _rows(data: bytes) -> bytes:
    rows, checksum = data[len(_MARK) : -DIGEST_BYTES], data[-DIGEST_BYTES:]
    whole = data.startswith(_MARK) and len(rows) % _ROW.size == 0
    if not whole or hashlib.sha256(rows).digest() != checksum:
        raise TornIndex
    return rows
