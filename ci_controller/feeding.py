"""What goes into a container's stdin: the spec, and the files as a tar stream made on the fly.

An uploaded archive becomes a tar without being unpacked anywhere on the host: names and kinds come from
its directory, which `ci_common.bundle` has judged, and each file's data pass through in pieces. The
container's user unpacks it (`runner_upload.py`, whose docstring says how the stream is framed).

Only plain entries and PAX records are written, since that is all that the runner reads.
"""

import hashlib
import tarfile
from collections.abc import Collection, Iterator, Sequence

from ci_common.bundle import Bundle, BundleEntry, EntryKind
from ci_controller.runner_spec import RunnerSpec

PIECE_BYTES = 256 * 1024
"""About so much goes in one piece, however small or large the files are."""

_TYPES = {
    EntryKind.FILE: tarfile.REGTYPE,
    EntryKind.DIRECTORY: tarfile.DIRTYPE,
    EntryKind.SYMLINK: tarfile.SYMTYPE,
}


def feed_stream(
    spec: RunnerSpec,
    files: Bundle | Sequence[tuple[str, bytes]] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[bytes]:
    """All bytes for stdin, in pieces of at most a few hundred kilobytes.

    `files` are an archive, of which `only` may name the entries that go, or (path, content) pairs.

    Raises:
        BundleRejected: while iterating, when data of the archive aren't what it announces; the container
            will find the stream incomplete.
    """
    text = spec.to_json()
    yield _length(text) + text
    digest = hashlib.sha256()
    for piece in _gathered(_tar(files, only)):
        digest.update(piece)
        yield _length(piece) + piece
    yield _length(b"") + digest.digest()


def _length(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big")


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth sending."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)


def _tar(files: Bundle | Sequence[tuple[str, bytes]] | None, only: Collection[str] | None) -> Iterator[bytes]:
    if isinstance(files, Bundle):
        chosen = None if only is None else frozenset(only)
        for entry in files.entries:
            if chosen is None or entry.path in chosen:
                yield from _member(files, entry)
    else:
        for path, content in files or ():
            yield _head(path, tarfile.REGTYPE, size_bytes=len(content))
            yield content + _padding(len(content))
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(bundle: Bundle, entry: BundleEntry) -> Iterator[bytes]:
    yield _head(
        entry.path,
        _TYPES[entry.kind],
        size_bytes=entry.size_bytes,
        is_executable=entry.executable,
        target=entry.target or "",
        mtime=entry.mtime,
    )
    if entry.kind is EntryKind.FILE:
        yield from bundle.chunks(entry)
        yield _padding(entry.size_bytes)


def _head(
    path: str,
    kind: bytes,
    *,
    size_bytes: int,
    is_executable: bool = False,
    target: str = "",
    mtime: int = 0,
) -> bytes:
    info = tarfile.TarInfo(path)
    info.type = kind
    info.size = size_bytes
    info.mode = 0o755 if is_executable or kind == tarfile.DIRTYPE else 0o644
    info.linkname = target
    info.mtime = mtime
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % tarfile.BLOCKSIZE)
