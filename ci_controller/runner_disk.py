"""How much of the disk a job occupies, and when to look.

Part of `runner.py` and bound by its rules: installed beside it, standard library alone, Python 3.9.
"""

from __future__ import annotations

import os
import stat
import time

from runner_processes import become, fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHORTEST_REST_SECONDS = 0.25
LONGEST_REST_SECONDS = 10.0
BLOCK_BYTES = 512
LEAST_BYTES = 4096
"""What a file counts at least: empty ones use up the disk's inodes."""


class DiskWatch:
    """Looks what a job occupies: at once when the disk has lost what would be too much, else seldom.

    What the disk has lost costs nothing to ask, but others use it too; so a walk over the files decides.
    A child does it that is the job's user only in effect: it may read what the job may, and the job can
    neither kill nor trace it. It is there before the job is, for beside a fork bomb no child comes up.
    """

    def __init__(self, folders: Iterable[str], uid: int, gid: int, limit_bytes: int, used_bytes: int) -> None:
        self._questions = self._answers = -1
        """Where the child is asked, and where it answers; -1 while there is none."""
        self._uid = uid
        self._gid = gid
        self._folders = _outermost(folder for folder in folders if _is_writable(folder))
        self._filesystems = {os.stat(folder).st_dev: folder for folder in self._folders}
        self._limit_bytes = limit_bytes
        self._used_bytes = used_bytes
        self._free_bytes = self._count_free()
        self._asked_at: float | None = None
        self._soonest = self._latest = 0.0
        self._rest(time.monotonic(), 0.0)

    @property
    def sources(self) -> list[int]:
        """What `select` has to look at for an answer."""
        return [self._answers] if self._answers >= 0 else []

    def begin(self) -> None:
        """Start the child."""
        asked, self._questions = os.pipe()
        self._answers, answer = os.pipe()
        try:
            fork(lambda: self._answer(asked, answer))
        except BlockingIOError:  # a fork bomb has taken all processes: `tick` tries again
            self.end()
        finally:
            os.close(asked)
            os.close(answer)

    def end(self) -> None:
        """The child is dead, or shall not be asked any more."""
        for fd in (self._questions, self._answers):
            if fd >= 0:
                os.close(fd)
        self._questions = self._answers = -1
        self._asked_at = None

    def tick(self, readable: list[int]) -> bool:
        """Ask where it is time to, hear the answer where there is one; whether it is too much."""
        now = time.monotonic()
        if self._answers in readable:
            self._hear(now)
        elif self._asked_at is None and now >= self._soonest:
            lost_bytes = self._free_bytes - self._count_free()
            if now >= self._latest or lost_bytes > self._limit_bytes - self._used_bytes:
                self._ask(now)
        return self._used_bytes > self._limit_bytes

    def _ask(self, now: float) -> None:
        if self._questions < 0:
            self.begin()
        if self._questions >= 0:
            self._free_bytes = self._count_free()
            self._asked_at = now
            try:
                os.write(self._questions, b"?")
            except BrokenPipeError:  # killed while idle, by the kernel for memory
                self.end()

    def _hear(self, now: float) -> None:
        answer = os.read(self._answers, 64)
        if answer and self._asked_at is not None:
            self._used_bytes = int(answer)
            self._rest(now, now - self._asked_at)
            self._asked_at = None
        else:  # killed at work
            self.end()

    def _rest(self, now: float, seconds_taken: float) -> None:
        self._soonest = now + max(SHORTEST_REST_SECONDS, 2 * seconds_taken)
        self._latest = now + max(LONGEST_REST_SECONDS, 20 * seconds_taken)

    def _count_free(self) -> int:
        figures = [os.statvfs(folder) for folder in self._filesystems.values()]
        return sum(figure.f_bfree * figure.f_frsize for figure in figures)

    def _answer(self, asked: int, answer: int) -> None:
        become(self._uid, self._gid, in_effect_alone=True)
        os.nice(10)
        while os.read(asked, 1):
            os.write(answer, b"%d\n" % measure(self._folders))


def _is_writable(folder: str) -> bool:
    return os.path.isdir(folder) and not os.statvfs(folder).f_flag & os.ST_RDONLY


def _outermost(folders: Iterable[str]) -> list[str]:
    every = {os.path.realpath(folder) for folder in folders}
    return [folder for folder in every if not any(folder.startswith(f"{other}/") for other in every)]


def measure(folders: Iterable[str]) -> int:
    """Bytes on disk of all that lies in `folders`, and of what has no name but is held open."""
    pending = list(folders)
    devices = {os.stat(folder).st_dev for folder in pending}
    seen: set[tuple[int, int]] = set()
    total_bytes = 0
    while pending:
        for entry in _entries(pending.pop()):
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:  # gone meanwhile
                continue
            if stat.S_ISDIR(info.st_mode):
                pending.append(entry.path)
            total_bytes += _own_bytes(info, seen)
    for info in _unnamed_files():
        if info.st_dev in devices:
            total_bytes += _own_bytes(info, seen)
    return total_bytes


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:  # gone meanwhile, or closed to its owner
        return


def _own_bytes(info: os.stat_result, seen: set[tuple[int, int]]) -> int:
    """What a file counts: nothing once it was met under another of its names."""
    if info.st_nlink != 1 and not stat.S_ISDIR(info.st_mode):
        if (info.st_dev, info.st_ino) in seen:
            return 0
        seen.add((info.st_dev, info.st_ino))
    return max(info.st_blocks * BLOCK_BYTES, LEAST_BYTES)


def _unnamed_files() -> Iterator[os.stat_result]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        folder = f"/proc/{pid}/fd"
        for entry in _entries(folder):
            try:
                info = entry.stat()
            except OSError:  # closed meanwhile
                continue
            if stat.S_ISREG(info.st_mode) and info.st_nlink == 0:
                yield info
