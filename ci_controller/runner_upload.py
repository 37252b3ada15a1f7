"""Unpacking the upload, done by a child of the runner that has become the job's user.

Part of `runner.py` and bound by its rules: installed beside it, standard library alone, Python 3.9.

The upload is a sequence of chunks, each behind its 4-byte big-endian length, that together are a tar
stream; a zero length; the SHA-256 of the tar's bytes. Of tar only files, folders, symlinks and the PAX
records path, linkpath, size and mtime are known: the controller writes nothing else
(`ci_controller/feeding.py`), and `tarfile` costs milliseconds to import and twice the time a file.
"""

from __future__ import annotations

import hashlib
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

BLOCK_BYTES = 512
PIECE_BYTES = 262144


class UnfedError(Exception):
    """The upload ended early, or isn't what was sent."""


class RefusedError(Exception):
    """The upload is complete, but can't be unpacked: which end that is, and why."""

    def __init__(self, end: str, why: str) -> None:
        super().__init__(why)
        self.end = end


class Upload:
    """The tar's bytes, hashed on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._chunk = memoryview(b"")
        self._is_complete = False

    def read(self, size_bytes: int) -> bytes:
        """So many bytes; nothing at the end."""
        piece = self._some(size_bytes)
        if len(piece) == size_bytes or not piece:
            return bytes(piece)
        pieces = [piece]
        missing = size_bytes - len(piece)
        while missing:
            pieces.append(self._some(missing))
            if not pieces[-1]:
                raise UnfedError("the tar ends within an entry")
            missing -= len(pieces[-1])
        return b"".join(pieces)

    def copy(self, size_bytes: int, fd: int | None) -> None:
        """So many bytes into a file, or nowhere."""
        while size_bytes:
            piece = self._some(size_bytes)
            if not piece:
                raise UnfedError("the tar ends within a file")
            size_bytes -= len(piece)
            while fd is not None and piece:
                piece = piece[os.write(fd, piece) :]

    def verify(self) -> None:
        """Read to the end, where the hash is."""
        while self._some(PIECE_BYTES):
            pass
        if self._exactly(32) != self._hash.digest():
            raise UnfedError("the tar's hash is wrong")

    def _some(self, most_bytes: int) -> memoryview:
        if not self._chunk and not self._is_complete:
            size_bytes = int.from_bytes(self._exactly(4), "big")
            self._chunk = memoryview(self._exactly(size_bytes))
            self._hash.update(self._chunk)
            self._is_complete = size_bytes == 0
        piece, self._chunk = self._chunk[:most_bytes], self._chunk[most_bytes:]
        return piece

    def _exactly(self, size_bytes: int) -> bytes:
        data = self._file.read(size_bytes)
        if len(data) < size_bytes:
            raise UnfedError("stdin ended early")
        return data


def unpack(upload: Upload, folder: str, limit_bytes: int | None) -> int:
    """Unpack into `folder`, verify, and return how many bytes the files hold.

    Raises:
        UnfedError: the upload isn't whole; what was unpacked is worth nothing.
        RefusedError: it is whole, but a file can't be made, or it needs more than `limit_bytes`.
    """
    os.chdir(folder)
    folders = {b""}
    total_bytes = 0
    refusal = None
    while refusal is None:
        entry = _next_entry(upload)
        if entry is None:
            break
        total_bytes += entry.size_bytes
        if limit_bytes is not None and total_bytes > limit_bytes:
            refusal = RefusedError("disk_limit", f"they hold more than {limit_bytes} bytes")
            break
        try:
            _make(entry, upload, folders)
        except OSError as error:
            refusal = RefusedError("bad_files", f"{os.fsdecode(entry.path)}: {error.strerror}")
    # A feeder of refused files is heard out: only the hash tells whether they are what was sent.
    upload.verify()
    if refusal is not None:
        raise refusal
    return total_bytes


class Entry:
    """One head of the tar."""

    def __init__(self, head: bytes, records: dict[bytes, bytes]) -> None:
        name, prefix = _text(head[0:100]), _text(head[345:500])
        path = records.get(b"path") or (prefix + b"/" + name if prefix else name)
        self.path = path.rstrip(b"/")
        self.kind = head[156:157]
        self.target = records.get(b"linkpath") or _text(head[157:257])
        self.is_executable = bool(_octal(head[100:108]) & stat.S_IXUSR)
        self.size_bytes = int(records.get(b"size") or _octal(head[124:136]))
        self.mtime = int(records.get(b"mtime") or _octal(head[136:148]))

    @property
    def padding_bytes(self) -> int:
        """What follows its data, up to the next block."""
        return -self.size_bytes % BLOCK_BYTES


def _next_entry(upload: Upload) -> Entry | None:
    records: dict[bytes, bytes] = {}
    while True:
        head = upload.read(BLOCK_BYTES)
        if not head.strip(b"\0"):
            return None
        entry = Entry(head, records)
        if entry.kind != b"x":
            return entry
        records = _records(upload.read(entry.size_bytes + entry.padding_bytes)[: entry.size_bytes])


def _records(data: bytes) -> dict[bytes, bytes]:
    """PAX: `<length of the whole record> <key>=<value>` and a newline, one behind the other."""
    records: dict[bytes, bytes] = {}
    while data:
        length, _, rest = data.partition(b" ")
        key, _, value = rest[: int(length) - len(length) - 2].partition(b"=")
        records[key] = value
        data = data[int(length) :]
    return records


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _octal(field: bytes) -> int:
    return int(_text(field).strip() or b"0", 8)


def _make(entry: Entry, upload: Upload, folders: set[bytes]) -> None:
    """Make one entry; `folders` are those that are known to exist."""
    parts = entry.path.split(b"/")
    if b"" in parts or b".." in parts:
        raise OSError(0, "is no path inside the project")
    parent = entry.path if entry.kind == b"5" else entry.path.rpartition(b"/")[0]
    if parent not in folders:
        os.makedirs(parent, exist_ok=True)
        folders.add(parent)
    if entry.kind == b"0":
        _make_file(entry, upload)
    elif entry.kind == b"2":
        os.symlink(entry.target, entry.path)
    elif entry.kind != b"5":
        raise OSError(0, "is neither file nor folder nor symlink")


def _make_file(entry: Entry, upload: Upload) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    fd = os.open(entry.path, flags, 0o755 if entry.is_executable else 0o644)
    try:
        upload.copy(entry.size_bytes, fd)
        os.utime(fd, (entry.mtime, entry.mtime))
    finally:
        os.close(fd)
    upload.copy(entry.padding_bytes, None)
