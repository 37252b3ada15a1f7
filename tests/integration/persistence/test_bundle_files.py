import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_common.bundle_store import IncomingBundle
from ci_common.errors import NotFound, StorageFull
from ci_common.ids import InstanceId, new_job_id
from ci_persistence.bundle_files import DirectoryBundleStore, LockedBundle, NamelessBundle

INSTANCE = InstanceId("instance")
Opener = Callable[[Path], IncomingBundle]


def _nameless(folder: Path) -> IncomingBundle:
    bundle = NamelessBundle.open(folder)
    assert bundle is not None, "this file system has nameless files"
    return bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "bundles" / INSTANCE
    path.mkdir(parents=True)
    return path


@pytest.fixture
def store(tmp_path: Path) -> DirectoryBundleStore:
    return DirectoryBundleStore(tmp_path, INSTANCE)


BOTH_KINDS = pytest.mark.parametrize("open_incoming", [_nameless, LockedBundle.open])


@BOTH_KINDS
def test_published_bundle_is_read_back(
    folder: Path, store: DirectoryBundleStore, open_incoming: Opener
) -> None:
    job_id = new_job_id()
    incoming = open_incoming(folder)
    incoming.file.write(b"0123456789")
    incoming.file.seek(0)
    assert incoming.file.read() == b"0123456789"
    incoming.sync()
    assert list(store.job_ids()) == []
    incoming.publish(job_id)
    incoming.discard()
    incoming.discard()
    assert list(store.job_ids()) == [job_id]
    assert [path.name for path in folder.iterdir()] == [f"{job_id}.zip"]
    with store.open(job_id) as file:
        file.seek(5)
        assert file.read() == b"56789"


@BOTH_KINDS
def test_discarded_bundle_leaves_nothing(folder: Path, open_incoming: Opener) -> None:
    incoming = open_incoming(folder)
    incoming.file.write(b"x" * 100_000)
    incoming.discard()
    incoming.discard()
    assert list(folder.iterdir()) == []


@BOTH_KINDS
def test_bundle_that_a_dead_process_left_is_replaced(
    folder: Path, store: DirectoryBundleStore, open_incoming: Opener
) -> None:
    job_id = new_job_id()
    (folder / f"{job_id}.zip").write_bytes(b"left behind")
    incoming = open_incoming(folder)
    incoming.file.write(b"new")
    incoming.publish(job_id)
    incoming.discard()
    with store.open(job_id) as file:
        assert file.read() == b"new"


@BOTH_KINDS
def test_bundles_belong_to_the_group(folder: Path, open_incoming: Opener) -> None:
    previous = os.umask(0o077)
    try:
        incoming = open_incoming(folder)
        incoming.publish(new_job_id())
        incoming.discard()
    finally:
        os.umask(previous)
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_folders_belong_to_the_group(tmp_path: Path) -> None:
    store = DirectoryBundleStore(tmp_path / "data", INSTANCE)
    store.receive().discard()
    for path in (tmp_path / "data", tmp_path / "data/bundles", tmp_path / "data/bundles" / INSTANCE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o2770


def test_store_receives_without_a_name(folder: Path, store: DirectoryBundleStore) -> None:
    incoming = store.receive()
    incoming.file.write(b"x")
    assert list(folder.iterdir()) == []
    incoming.discard()


def test_missing_bundle(store: DirectoryBundleStore) -> None:
    assert list(store.job_ids()) == []
    with pytest.raises(NotFound):
        store.open(new_job_id())
    store.delete(new_job_id())


def test_deleted_bundle_is_gone(store: DirectoryBundleStore) -> None:
    job_id = new_job_id()
    incoming = store.receive()
    incoming.publish(job_id)
    incoming.discard()
    store.delete(job_id)
    assert list(store.job_ids()) == []


def test_files_of_others_are_not_bundles(folder: Path, store: DirectoryBundleStore) -> None:
    (folder / "notes.txt").touch()
    (folder / "readme.zip").touch()
    assert list(store.job_ids()) == []


def test_installations_do_not_see_each_other(tmp_path: Path, store: DirectoryBundleStore) -> None:
    incoming = store.receive()
    incoming.publish(new_job_id())
    incoming.discard()
    assert list(DirectoryBundleStore(tmp_path, InstanceId("another")).job_ids()) == []


def test_reserve_of_free_disk_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(tmp_path)
    store = DirectoryBundleStore(tmp_path, INSTANCE, reserve_bytes=1 << 20)

    def with_free_blocks(count: int) -> None:
        fields = list(real)
        fields[4] = count  # f_bavail

        def statvfs(_path: Path) -> os.statvfs_result:
            return os.statvfs_result(fields)

        monkeypatch.setattr(os, "statvfs", statvfs)

    with_free_blocks((1 << 20) // real.f_frsize - 1)
    with pytest.raises(StorageFull):
        store.receive()
    with_free_blocks((1 << 20) // real.f_frsize)
    store.receive().discard()


HOLDS_A_BUNDLE = """
import sys, signal
from pathlib import Path
from ci_persistence.bundle_files import LockedBundle, NamelessBundle
kind = {"nameless": NamelessBundle, "locked": LockedBundle}[sys.argv[2]]
incoming = kind.open(Path(sys.argv[1]))
incoming.file.write(b"x" * 1000000)
incoming.file.flush()
print("ready", flush=True)
signal.pause()
"""


def _holder(folder: Path, kind: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_BUNDLE, str(folder), kind], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


def test_killed_process_leaves_nothing(folder: Path) -> None:
    process = _holder(folder, "nameless")
    assert list(folder.iterdir()) == []
    _kill(process)
    assert list(folder.iterdir()) == []


def test_named_files_of_dead_processes_are_removed_and_no_others(folder: Path) -> None:
    dead, alive = _holder(folder, "locked"), _holder(folder, "locked")
    try:
        assert len(list(folder.iterdir())) == 2
        _kill(dead)
        incoming = LockedBundle.open(folder)
        assert len(list(folder.iterdir())) == 2
        incoming.discard()
        assert len(list(folder.iterdir())) == 1
    finally:
        _kill(alive)
