"""What files held when they were last sent, so that unchanged ones need neither be read nor sent again.

A file in the user's cache folder for each project: a line for each of the project's files, with its
SHA-256 and its state then (size, times, inode). An unchanged state proves an unchanged content only where
the file had been left alone for a while before it was read: who writes through a shared mapping changes
the times with the first write alone, until the pages are written to the disk, which takes Linux about
half a minute. In memory they never are, so nothing is proved there; nor on Windows, where the second time
is the file's creation and the first can be set. Such files are read again and compared. A file system
of layers that lie in memory isn't known for one.

As with any cache, losing it costs time alone, so whatever is wrong with it counts as an empty one.
"""

import contextlib
import functools
import os
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_MARK = "ci-digests 2"
_SUFFIX = ".digests"
_SETTLED_NS = 60_000_000_000
"""By then the system has written a mapping's pages to the disk, and notices the next write."""
_KEPT_SECONDS = 30 * 24 * 3600.0
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's content, and the state of the file that held it."""

    sha256: bytes
    size_bytes: int
    modified_ns: int
    changed_ns: int
    inode: int
    is_certain: bool
    """Whether the content is the same as long as the state is."""

    def still_holds(self, found: os.stat_result) -> bool:
        """Whether a file in this state has the content for certain."""
        state = (self.size_bytes, self.modified_ns, self.changed_ns, self.inode)
        return self.is_certain and state == (
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_ino,
        )


def noted(digest: bytes, found: os.stat_result, read_at_ns: int) -> Digest:
    """What is to be noted of a file that was read from `read_at_ns` on, its state being `found` then and
    after."""
    is_certain = (
        sys.platform != "win32"
        and max(found.st_mtime_ns, found.st_ctime_ns) <= read_at_ns - _SETTLED_NS
        and found.st_dev not in _memory_devices()
    )
    return Digest(digest, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, is_certain)


@functools.cache
def _memory_devices() -> frozenset[int]:
    try:
        return devices_in_memory(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:  # another system than Linux, where such file systems are rare
        return frozenset()


def devices_in_memory(mounts: str) -> frozenset[int]:
    """Of the system's list of mounts, the devices whose files never reach a disk."""
    if sys.platform == "win32":  # it keeps no such list, and nothing there is certain anyway
        return frozenset()
    devices: set[int] = set()
    for line in mounts.splitlines():
        mount, _, file_system = line.partition(" - ")
        if file_system.partition(" ")[0] in _IN_MEMORY:
            major, _, minor = mount.split(" ")[2].partition(":")
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)


def load(root: Path) -> Mapping[str, Digest]:
    """What is known of the project's files, by path; empty where nothing is."""
    file = _file_of(root)
    try:
        mark, *lines = file.read_text(encoding="utf-8", errors="strict").split("\n")
        with contextlib.suppress(OSError):
            os.utime(file)  # it is of use, so it is kept
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
        # One that is left over has our suffix, and is dropped in its time.
        descriptor, temporary = tempfile.mkstemp(_SUFFIX, "unfinished-", file.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as written:
            written.write("\n".join([_MARK, *(_line(path, digest) for path, digest in digests.items())]))
        Path(temporary).replace(file)


def _line(path: str, digest: Digest) -> str:
    # Names with line breaks are never sent.
    return (
        f"{digest.sha256.hex()} {digest.size_bytes} {digest.modified_ns} {digest.changed_ns} "
        f"{digest.inode} {int(digest.is_certain)} {path}"
    )


def _parsed(line: str) -> tuple[str, Digest]:
    digest, size_bytes, modified_ns, changed_ns, inode, is_certain, path = line.split(" ", 6)
    state = int(size_bytes), int(modified_ns), int(changed_ns), int(inode)
    return path, Digest(bytes.fromhex(digest), *state, is_certain == "1")


def _file_of(root: Path) -> Path:
    # Two projects that should ever share a name only push each other out: the files' states tell them apart.
    name = os.fsencode(root)
    return _folder() / f"{zlib.crc32(name):08x}{zlib.adler32(name):08x}{_SUFFIX}"


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
    for path in folder.glob(f"*{_SUFFIX}"):  # others may have things of their own there
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
