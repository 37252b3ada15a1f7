"""Puts an archive together from pieces of others; the packed data are copied as they are.

The kernel copies them where it can, so that neither memory nor another compression is spent on files
that haven't changed.
"""

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from ci_common.bundle import BundleEntry, EntryKind
from ci_common.bundle_paths import rejected
from ci_common.content_store import Changes, Content, ContentsGone
from ci_common.errors import BundleRejected, StorageFull
from ci_common.zip_writer import WIDE_BYTES, ZipEntry, end_of_archive

_COPY_BYTES = 1 << 20
_GATHERED_BYTES = 1 << 20
_NO_COPY_IN_KERNEL = {errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a content is found."""

    descriptor: int
    content: Content


def compose(changes: Changes, kept: Mapping[bytes, Source], target: BinaryIO) -> Sequence[Content]:
    """Write what `changes` means to `target`, which is empty; all contents of the result.

    Raises:
        ContentsGone: one that it names is not in `kept`, or not whole.
        BundleRejected: one has another size than announced.
        StorageFull: the disk takes no more.
    """
    writer = _Writer(target.fileno())
    contents: list[Content] = []
    try:
        for entry in changes.bundle.entries:
            source = _source_of(entry, changes, kept)
            offset = writer.add(entry, source)
            if entry.kind is EntryKind.FILE:
                contents.append(replace(source.content, offset=offset))
        writer.finish()
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("the server's disk is full; nothing was accepted") from error
        raise
    target.seek(0, os.SEEK_END)
    return contents


def _source_of(entry: BundleEntry, changes: Changes, kept: Mapping[bytes, Source]) -> Source:
    if entry.is_reference:
        source = kept.get(changes.named[entry.path])
        if source is None:
            raise ContentsGone("files that haven't changed are not kept here any more; send all of them")
        if source.content.size_bytes != entry.size_bytes:
            raise rejected(entry.path, "names a content of another size than it announces")
        return source
    content = changes.held.get(entry.path)
    if content is None:  # a directory or symlink
        offset, packed_bytes = changes.bundle.packed(entry)
        record = entry.record
        content = Content(b"", offset, packed_bytes, record.size_bytes, record.crc, record.method)
    return Source(changes.bundle.file.fileno(), content)


class _Writer:
    """Appends to a file by its descriptor; small pieces are gathered."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self._gathered = bytearray()
        self._directory: list[bytes] = []

    def add(self, entry: BundleEntry, source: Source) -> int:
        """Append an entry; where its data begin."""
        record, content = entry.record, source.content
        written = ZipEntry(
            name=record.name.encode(),
            mode=record.unix_mode,
            timestamp=record.timestamp,
            dos_date=record.dos_date,
            dos_time=record.dos_time,
            method=content.method,
            crc=content.crc,
            compressed_bytes=content.compressed_bytes,
            size_bytes=content.size_bytes,
            header_offset=self._position + len(self._gathered),
            is_dos_directory=record.dos_directory,
            is_wide=max(content.size_bytes, content.compressed_bytes) >= WIDE_BYTES,
        )
        self._gathered += written.local_header()
        self._directory.append(written.record())
        offset = self._position + len(self._gathered)
        if not self._copy(source.descriptor, content.offset, content.compressed_bytes):
            if entry.is_reference:
                raise ContentsGone("what is kept here is damaged; send all of them")
            raise BundleRejected("the archive is shorter than its directory says")
        return offset

    def finish(self) -> None:
        """Write the directory."""
        start = self._position + len(self._gathered)
        size_bytes = 0
        for record in self._directory:
            self._gathered += record
            size_bytes += len(record)
            if len(self._gathered) > _GATHERED_BYTES:
                self._flush()
        self._gathered += end_of_archive(len(self._directory), start, size_bytes)
        self._flush()

    def _flush(self) -> None:
        left = memoryview(bytes(self._gathered))
        self._gathered.clear()
        while left:
            written = os.pwrite(self._descriptor, left, self._position)
            self._position += written
            left = left[written:]

    def _copy(self, source: int, offset: int, left: int) -> bool:
        """Append bytes of another file; whether they are there."""
        if not left:
            return True
        self._flush()
        while left:
            copied = self._copy_some(source, offset, min(left, _COPY_BYTES))
            if not copied:
                return False
            offset += copied
            left -= copied
            self._position += copied
        return True

    def _copy_some(self, source: int, offset: int, size_bytes: int) -> int:
        try:
            return os.copy_file_range(source, self._descriptor, size_bytes, offset, self._position)
        except OSError as error:
            if error.errno not in _NO_COPY_IN_KERNEL:
                raise
        piece = os.pread(source, size_bytes, offset)
        return os.pwrite(self._descriptor, piece, self._position) if piece else 0
