"""What files held when they were last sent, so that unchanged ones need neither be read nor sent again.

A file in the user's cache folder for each project: a line for each of the project's files, with its
SHA-256 and what tells that it hasn't changed (size, times, inode). A file that had been changed just
before it was read is not noted: it might change once more within the same tick of its clock. As with any
cache, losing it costs time alone, so whatever is wrong with it counts as an empty one.
"""

import contextlib
import os
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MARK = "ci-digests 1"
_SETTLED_NS = 2_000_000_000
"""Coarser than any file system's clock."""
_KEPT_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's content, and the state of the file that held it."""

    sha256: bytes
    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int

    def still_holds(self, found: os.stat_result) -> bool:
        """Whether a file in this state has the content."""
        state = (self.size_bytes, self.modified_ns, self.changed_ns, self.inode)
        return state == (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def noted(digest: bytes, found: os.stat_result, read_at_ns: int) -> Digest | None:
    """What may be noted of a file that was read from `read_at_ns` on, its state being `found` then and after.

    None where a later change might leave that state as it is.
    """
    if max(found.st_mtime_ns, found.st_ctime_ns) > read_at_ns - _SETTLED_NS:
        return None
    return Digest(digest, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def load(root: Path) -> Mapping[str, Digest]:
    """What is known of the project's files, by path; empty where nothing is."""
    try:
        mark, *lines = _file_of(root).read_text(encoding="utf-8", errors="strict").split("\n")
        return dict(map(_parsed, lines)) if mark == _MARK else {}
    except (OSError, ValueError):
        return {}


def save(root: Path, digests: Mapping[str, Digest]) -> None:
    """Replace what is known, in one step."""
    import tempfile  # noqa: PLC0415 - rarely needed, and the import takes time

    file = _file_of(root)
    with contextlib.suppress(OSError):  # a cache that can't be written is none
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget_old(file.parent)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as written:
            written.write("\n".join([_MARK, *(_line(path, digest) for path, digest in digests.items())]))
        Path(temporary).replace(file)


def _line(path: str, digest: Digest) -> str:
    # Names with line breaks are never sent.
    return (
        f"{digest.sha256.hex()} {digest.size_bytes} {digest.modified_ns} {digest.changed_ns} "
        f"{digest.inode} {path}"
    )


def _parsed(line: str) -> tuple[str, Digest]:
    digest, size_bytes, modified_ns, changed_ns, inode, path = line.split(" ", 5)
    return path, Digest(bytes.fromhex(digest), int(size_bytes), int(modified_ns), int(changed_ns), int(inode))


def _file_of(root: Path) -> Path:
    # Two projects that should ever share a name only push each other out: the files' states tell them apart.
    name = os.fsencode(root)
    return _folder() / f"{zlib.crc32(name):08x}{zlib.adler32(name):08x}.digests"


def _folder() -> Path:
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "ci"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "ci" / "cache"
    return Path("~/Library/Caches/ci" if sys.platform == "darwin" else "~/.cache/ci").expanduser()


def _forget_old(folder: Path) -> None:
    """Drop what belongs to projects that haven't been sent for long."""
    import time  # noqa: PLC0415 - as above

    oldest = time.time() - _KEPT_SECONDS
    for path in folder.iterdir():
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
