"""Kept contents as files: `<data_dir>/bundles/<instance id>/kept/<user id>/<job id>.zip` and `.index`.

An archive is a second name of a job's bundle: it costs no room as long as the job lives, and stays when
the job's own name goes. How many stay, and for how long, is bounded for each user, and all of them go,
the oldest first, while the disk isn't roomy; an upload that finds too little room has them go before it
is refused. What is open is read to its end, whoever removes its name meanwhile.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ci_common.bundle import EntryKind
from ci_common.content_store import Changes, Content, ContentStore
from ci_common.errors import InvalidInput, StorageFull
from ci_common.ids import InstanceId, JobId, UserId
from ci_persistence import composing, content_index
from ci_persistence.composing import Source
from ci_persistence.content_index import TornIndex
from ci_persistence.disk_room import Disk, disk_of
from ci_persistence.shared_files import FILE_MODE, make_folder

MOST_FOR_A_USER = 3
LONGEST_SECONDS = 24 * 3600.0
_ARCHIVE, _INDEX, _UNFINISHED = ".zip", ".index", ".unfinished"
_ENTRY_OVERHEAD_BYTES = 160
"""The most that an entry takes in an archive beside its name, twice, and its data."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    """One archive that is kept."""

    archive: Path
    since: float
    """Wall clock."""

    @property
    def index(self) -> Path:
        return self.archive.with_suffix(_INDEX)

    def inode(self) -> int | None:
        """None where it is gone."""
        try:
            return self.archive.stat().st_ino
        except FileNotFoundError:
            return None

    def give_up(self) -> None:
        self.index.unlink(missing_ok=True)
        self.archive.unlink(missing_ok=True)


class DirectoryContentStore(ContentStore):
    """The kept contents of one installation in a folder of its own."""

    def __init__(
        self,
        data_dir: Path,
        instance_id: InstanceId,
        *,
        most_for_a_user: int = MOST_FOR_A_USER,
        longest_seconds: float = LONGEST_SECONDS,
        disk_of: Callable[[Path], Disk] = disk_of,
    ) -> None:
        self._bundles = data_dir / "bundles" / instance_id
        self._folder = self._bundles / "kept"
        self._most_for_a_user = most_for_a_user
        self._longest_seconds = longest_seconds
        self._disk_of = disk_of

    def held(self, user_id: UserId, digests: Collection[bytes]) -> Collection[bytes]:
        wanted = frozenset(digests)
        found: set[bytes] = set()
        for kept in self._kept_for(user_id):
            with _while_it_lasts(kept):
                found.update(wanted.intersection(content_index.digests(kept.index.read_bytes())))
        return found

    def compose(
        self, user_id: UserId, changes: Changes, target: BinaryIO, max_bytes: int
    ) -> Sequence[Content]:
        with ExitStack() as open_archives:
            kept = self._sources(user_id, frozenset(changes.named.values()), open_archives)
            size_bytes = _composed_bytes(changes, kept)
            _check_size(size_bytes, max_bytes)
            self._require_room(size_bytes, kept.values())
            contents = composing.compose(changes, kept, target)
            _check_size(target.seek(0, os.SEEK_END), max_bytes)
            return contents

    def keep(self, user_id: UserId, job_id: JobId, contents: Sequence[Content]) -> None:
        folder = self._folder / user_id
        kept = _Kept(folder / f"{job_id}{_ARCHIVE}", time.time())
        unfinished = folder / f"{job_id}{_UNFINISHED}"
        try:
            for missing in (self._folder, folder):
                make_folder(missing)
            os.link(self._bundles / f"{job_id}.zip", kept.archive)
            unfinished.write_bytes(content_index.encoded(contents))
            unfinished.chmod(FILE_MODE)
            unfinished.replace(kept.index)
        except OSError as error:
            # The job exists; that its files must be sent again next time is no reason to fail.
            _log.warning("the files of job %s are not kept for later submissions: %s", job_id, error)
            unfinished.unlink(missing_ok=True)
            kept.give_up()
        self._sweep_user(folder)
        self.make_room()

    def sweep(self) -> None:
        for folder in _entries_of(self._folder):
            self._sweep_user(folder)
            with contextlib.suppress(OSError):
                folder.rmdir()  # succeeds for an empty one
        self.make_room()

    def make_room(self) -> None:
        """Give up what was kept, the oldest first, until the disk is roomy."""
        if self._bundles.exists():
            self._give_up_until(self._disk().plenty_bytes, frozenset())

    def _require_room(self, size_bytes: int, sources: Collection[Source]) -> None:
        needed_bytes = size_bytes + self._disk().reserve_bytes()
        # What is about to be copied frees nothing as long as it is open.
        self._give_up_until(needed_bytes, {os.fstat(source.descriptor).st_ino for source in sources})
        if self._disk().free_bytes < needed_bytes:
            raise StorageFull("too little disk space is left to put the project together")

    def _give_up_until(self, free_bytes: int, spared_inodes: Collection[int]) -> None:
        if self._disk().free_bytes >= free_bytes:
            return
        everything = [kept for folder in _entries_of(self._folder) for kept in _kept_in(folder)]
        for kept in sorted(everything, key=lambda kept: kept.since):
            if kept.inode() in spared_inodes:
                continue
            kept.give_up()
            if self._disk().free_bytes >= free_bytes:
                return

    def _sweep_user(self, folder: Path) -> None:
        oldest = time.time() - self._longest_seconds
        kept = _kept_in(folder)
        surplus = _surplus(kept, self._most_for_a_user)
        for one in kept:
            if one in surplus or one.since < oldest:
                one.give_up()
        for path in _entries_of(folder):
            is_alone = path.suffix != _ARCHIVE and not path.with_suffix(_ARCHIVE).exists()
            if is_alone and _since(path) < oldest:
                path.unlink(missing_ok=True)

    def _kept_for(self, user_id: UserId) -> Sequence[_Kept]:
        return _kept_in(self._folder / user_id)

    def _sources(
        self, user_id: UserId, wanted: frozenset[bytes], open_archives: ExitStack
    ) -> Mapping[bytes, Source]:
        found: dict[bytes, Source] = {}
        for kept in self._kept_for(user_id):
            missing = wanted.difference(found)
            if not missing:
                break
            with _while_it_lasts(kept):
                archive = open_archives.enter_context(kept.archive.open("rb"))
                for content in content_index.contents(kept.index.read_bytes(), missing):
                    found[content.digest] = Source(archive.fileno(), content)
        return found

    def _disk(self) -> Disk:
        return self._disk_of(self._bundles)


@contextlib.contextmanager
def _while_it_lasts(kept: _Kept) -> Generator[None]:
    """Somebody may remove it at any moment; one that is damaged is removed here."""
    try:
        yield
    except FileNotFoundError:
        return
    except TornIndex:
        kept.give_up()


def _kept_in(folder: Path) -> Sequence[_Kept]:
    """The newest first."""
    found = [_Kept(path, _since(path.with_suffix(_INDEX)) or _since(path)) for path in _entries_of(folder)]
    archives = [kept for kept in found if kept.archive.suffix == _ARCHIVE]
    return sorted(archives, key=lambda kept: (kept.since, kept.archive.name), reverse=True)


def _composed_bytes(changes: Changes, kept: Mapping[bytes, Source]) -> int:
    """How large the archive will be, at most."""
    named = sum(kept[digest].content.compressed_bytes for digest in changes.named.values() if digest in kept)
    held = sum(content.compressed_bytes for content in changes.held.values())
    entries = changes.bundle.entries
    others = sum(entry.record.compressed_bytes for entry in entries if entry.kind is not EntryKind.FILE)
    around = sum(2 * len(entry.record.name.encode()) + _ENTRY_OVERHEAD_BYTES for entry in entries)
    return named + held + others + around


def _check_size(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise InvalidInput(
            f"with the files that it names the archive would have more than the {max_bytes} bytes "
            "that CI_MAX_UPLOAD_BYTES allows"
        )


def _surplus(kept: Sequence[_Kept], most: int) -> Collection[_Kept]:
    """Which of the archives, the newest first, make room for newer ones.

    Of one project, which is told by what it shares with a newer one, an older archive is kept beside the
    newest: another submission may be about to name what lies there.
    """
    surplus: list[_Kept] = []
    newer: list[frozenset[bytes]] = []
    outdated = 0
    for one in kept:
        with _while_it_lasts(one):
            found = frozenset(content_index.digests(one.index.read_bytes()))
            if any(2 * len(found & other) > len(found) for other in newer):
                outdated += 1
                if outdated > 1:
                    surplus.append(one)
                continue
            newer.append(found)
            if len(newer) > most:
                surplus.append(one)
    return surplus


def _entries_of(folder: Path) -> Sequence[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _since(path: Path) -> float:
    """When it was written; 0 where it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
