"""Uploaded archives as files: `<data_dir>/bundles/<instance id>/<job id>.zip`.

Invariants: a name appears only for content that is on the disk; what is being received has no name
(`O_TMPFILE`), so a process that dies leaves nothing. File systems without nameless files get files
with a name and a lock: without its lock such a file is dead, and the next upload removes it.

Server and controller may be two users of one group. All calls block.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ci_common.bundle_store import BundleStore, IncomingBundle
from ci_common.errors import InvalidInput, NotFound, StorageFull
from ci_common.ids import InstanceId, JobId, parse_job_id
from ci_persistence.disk_room import RESERVE_BYTES, Disk, disk_of
from ci_persistence.shared_files import FILE_MODE, make_folder, sync_folder

_SUFFIX = ".zip"
_INCOMING_PREFIX = ".incoming-"
_NO_NAMELESS_FILES = {errno.EOPNOTSUPP, errno.EISDIR}
_FULL = {errno.ENOSPC, errno.EDQUOT}


class DirectoryBundleStore(BundleStore):
    """The bundles of one installation in a folder of its own."""

    def __init__(
        self,
        data_dir: Path,
        instance_id: InstanceId,
        reserve_bytes: int = RESERVE_BYTES,
        *,
        reclaim: Callable[[], None] = lambda: None,
        disk_of: Callable[[Path], Disk] = disk_of,
    ) -> None:
        self._folder = data_dir / "bundles" / instance_id
        self._reserve_bytes = reserve_bytes
        self._reclaim = reclaim
        """Frees disk that is in use for something less important."""
        self._disk_of = disk_of

    def receive(self) -> IncomingBundle:
        self._make_folders()
        self._require_reserve()
        nameless = NamelessBundle.open(self._folder)
        return nameless if nameless is not None else LockedBundle.open(self._folder)

    def open(self, job_id: JobId) -> BinaryIO:
        try:
            return _path(self._folder, job_id).open("rb")
        except FileNotFoundError:
            raise NotFound(f"the uploaded files of job {job_id} are gone") from None

    def delete(self, job_id: JobId) -> None:
        _path(self._folder, job_id).unlink(missing_ok=True)

    def job_ids(self) -> Iterator[JobId]:
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return
        for name in names:
            if name.endswith(_SUFFIX):
                with suppress(InvalidInput):  # not named by us
                    yield parse_job_id(name.removesuffix(_SUFFIX))

    def _make_folders(self) -> None:
        for folder in (self._folder.parent.parent, self._folder.parent, self._folder):
            make_folder(folder)

    def _require_reserve(self) -> None:
        if self._lacks_reserve():
            self._reclaim()
        if self._lacks_reserve():
            raise StorageFull(f"too little disk space is left in {self._folder} to accept another upload")

    def _lacks_reserve(self) -> bool:
        disk = self._disk_of(self._folder)
        return disk.free_bytes < disk.reserve_bytes(self._reserve_bytes)


class NamelessBundle(IncomingBundle):
    """A file that has no name until it is published, and vanishes with its descriptor."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._folder = folder
        self._file: BinaryIO = os.fdopen(descriptor, "w+b")

    @classmethod
    def open(cls, folder: Path) -> "NamelessBundle | None":
        """None where the file system has no such files."""
        try:
            descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            if error.errno in _NO_NAMELESS_FILES:
                return None
            raise _translated(error, folder) from error
        os.fchmod(descriptor, FILE_MODE)
        return cls(folder, descriptor)

    @property
    def file(self) -> BinaryIO:
        return self._file

    def sync(self) -> None:
        _sync(self._file, self._folder)

    def publish(self, job_id: JobId) -> None:
        self.sync()
        try:
            _link_anew(f"/proc/self/fd/{self._file.fileno()}", _path(self._folder, job_id))
            sync_folder(self._folder)
        except OSError as error:
            raise _translated(error, self._folder) from error

    def discard(self) -> None:
        _close(self._file)


class LockedBundle(IncomingBundle):
    """A file with a temporary name, alive as long as its lock is held."""

    def __init__(self, folder: Path, path: Path, descriptor: int) -> None:
        self._folder = folder
        self._path = path
        self._file: BinaryIO = os.fdopen(descriptor, "w+b")

    @classmethod
    def open(cls, folder: Path) -> "LockedBundle":
        """A new one; those of dead processes are removed first."""
        _remove_dead(folder)
        while True:
            path = folder / f"{_INCOMING_PREFIX}{secrets.token_hex(8)}"
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE)
            except OSError as error:
                raise _translated(error, folder) from error
            os.fchmod(descriptor, FILE_MODE)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink > 0:
                return cls(folder, path, descriptor)
            # Somebody took it for dead in the moment before it was locked.
            os.close(descriptor)

    @property
    def file(self) -> BinaryIO:
        return self._file

    def sync(self) -> None:
        _sync(self._file, self._folder)

    def publish(self, job_id: JobId) -> None:
        self.sync()
        try:
            self._path.replace(_path(self._folder, job_id))
            sync_folder(self._folder)
        except OSError as error:
            raise _translated(error, self._folder) from error

    def discard(self) -> None:
        if not self._file.closed:
            self._path.unlink(missing_ok=True)
        _close(self._file)


def _path(folder: Path, job_id: JobId) -> Path:
    return folder / f"{job_id}{_SUFFIX}"


def _link_anew(source: str, target: Path) -> None:
    # The folder's descriptor makes this `linkat`, which follows the link in /proc to the file itself.
    descriptor = os.open(target.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                os.link(source, target.name, dst_dir_fd=descriptor, follow_symlinks=True)
            except FileExistsError:
                target.unlink(missing_ok=True)
            else:
                return
    finally:
        os.close(descriptor)


def _remove_dead(folder: Path) -> None:
    for path in folder.glob(f"{_INCOMING_PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(descriptor)


def _sync(file: BinaryIO, folder: Path) -> None:
    try:
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise _translated(error, folder) from error


def _close(file: BinaryIO) -> None:
    # Closing writes what is buffered; of a file that is given up nobody misses it.
    with suppress(OSError):
        file.close()


def _translated(error: OSError, folder: Path) -> Exception:
    if error.errno in _FULL:
        return StorageFull(f"no disk space is left in {folder}")
    return error
