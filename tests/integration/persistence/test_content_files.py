"""Kept contents on a real disk: what is composed of them, whose they are, and how they go."""

import io
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from ci_common.bundle import BundleLimits, read_bundle
from ci_common.content_store import Changes, Content, ContentsGone, read_changes
from ci_common.errors import BundleRejected, InvalidInput, StorageFull
from ci_common.ids import InstanceId, JobId, UserId, new_job_id, new_user_id
from ci_common.zip_writer import REFERENCE, ZipEntry, end_of_archive
from ci_persistence.bundle_files import DirectoryBundleStore
from ci_persistence.content_files import DirectoryContentStore
from ci_persistence.disk_room import RESERVE_BYTES, Disk
from tests.unit.common.raw_zip import RawEntry, RawZip

INSTANCE = InstanceId("instance")
ANN, BOB = UserId(new_user_id()), UserId(new_user_id())
UNLIMITED = 1 << 60
LARGE_DISK_BYTES = 100 << 30
ROOMY = Disk(LARGE_DISK_BYTES, free_bytes=LARGE_DISK_BYTES // 2)
TIGHT = Disk(LARGE_DISK_BYTES, free_bytes=LARGE_DISK_BYTES // 10)
FULL = Disk(LARGE_DISK_BYTES, free_bytes=RESERVE_BYTES - 1)


class DiskOfKept:
    """A disk that has room only while no more than one archive is kept."""

    def __init__(self, folder: Path) -> None:
        self._kept = folder / "bundles" / INSTANCE / "kept"

    def __call__(self, _folder: Path) -> Disk:
        count = len(list(self._kept.rglob("*.zip")))
        return FULL if count > 1 else ROOMY


@pytest.fixture
def bundles(tmp_path: Path) -> DirectoryBundleStore:
    return DirectoryBundleStore(tmp_path, INSTANCE)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryContentStore:
    return DirectoryContentStore(tmp_path, INSTANCE, disk_of=lambda _folder: ROOMY)


def kept_names(tmp_path: Path, user: UserId = ANN) -> list[str]:
    folder = tmp_path / "bundles" / INSTANCE / "kept" / user
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def archive_of(files: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def submitted(
    bundles: DirectoryBundleStore,
    store: DirectoryContentStore,
    files: Mapping[str, bytes],
    user: UserId = ANN,
) -> tuple[JobId, Mapping[str, Content]]:
    """A job whose files are kept."""
    job_id = new_job_id()
    incoming = bundles.receive()
    incoming.file.write(archive_of(files))
    contents = read_changes(read_bundle(incoming.file, BundleLimits())).held
    incoming.publish(job_id)
    incoming.discard()
    store.keep(user, job_id, list(contents.values()))
    return job_id, contents


ChangesOf = Callable[..., Changes]


@pytest.fixture
def changes_of(tmp_path: Path) -> Iterator[ChangesOf]:
    """Makes archives that hold bytes and name contents."""
    with ExitStack() as open_files:

        def made(*entries: tuple[str, bytes | Content]) -> Changes:
            file = open_files.enter_context((tmp_path / "changes").open("w+b"))
            directory = b""
            for name, what in entries:
                entry = ZipEntry(name.encode(), stat.S_IFREG | 0o755)
                data = what
                if isinstance(what, Content):
                    entry.method, entry.size_bytes, data = REFERENCE, what.size_bytes, what.digest
                else:
                    entry.size_bytes, entry.crc = len(what), zlib.crc32(what)
                assert isinstance(data, bytes)
                entry.header_offset, entry.compressed_bytes = file.tell(), len(data)
                file.write(entry.local_header() + data)
                directory += entry.record()
            file.write(directory + end_of_archive(len(entries), file.tell(), len(directory)))
            return read_changes(read_bundle(file, BundleLimits(), references_allowed=True))

        yield made


def composed(
    bundles: DirectoryBundleStore, store: DirectoryContentStore, changes: Changes, user: UserId = ANN
) -> dict[str, bytes]:
    """What our reader finds, which the standard library's must find, too."""
    target = bundles.receive()
    try:
        contents = store.compose(user, changes, target.file, UNLIMITED)
        bundle = read_bundle(target.file, BundleLimits())
        bundle.verify()
        found = {entry.path: b"".join(bundle.chunks(entry)) for entry in bundle.entries}
        archive = zipfile.ZipFile(target.file)
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == found
        offsets = {bundle.packed(entry)[0] for entry in bundle.entries}
        assert {content.offset for content in contents} == offsets
    finally:
        target.discard()
    return found


TEXT, NOISE = b"text " * 10_000, os.urandom(300_000)


def test_what_is_named_is_found_under_new_names_and_beside_new_files(
    changes_of: ChangesOf, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    job_id, contents = submitted(bundles, store, {"a.txt": TEXT, "b.bin": NOISE, "gone": b"x" * 100})
    bundles.delete(job_id)
    changes = changes_of(("moved/é.txt", contents["a.txt"]), ("new", b"new"), ("b.bin", contents["b.bin"]))
    assert composed(bundles, store, changes) == {"moved/é.txt": TEXT, "new": b"new", "b.bin": NOISE}


def test_contents_may_come_from_several_submissions_and_more_than_once(
    changes_of: ChangesOf, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    _, first = submitted(bundles, store, {"a": TEXT})
    _, second = submitted(bundles, store, {"b": NOISE})
    changes = changes_of(("1", second["b"]), ("2", first["a"]), ("3", second["b"]))
    assert composed(bundles, store, changes) == {"1": NOISE, "2": TEXT, "3": NOISE}


def test_without_the_kernels_help_it_is_the_same(
    changes_of: ChangesOf,
    bundles: DirectoryBundleStore,
    store: DirectoryContentStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_arguments: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "copy_file_range", unknown)
    _, contents = submitted(bundles, store, {"a": TEXT, "b": NOISE})
    changes = changes_of(("a", contents["a"]), ("b", contents["b"]))
    assert composed(bundles, store, changes) == {"a": TEXT, "b": NOISE}


def test_each_user_has_a_store_of_their_own(
    changes_of: ChangesOf, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    _, contents = submitted(bundles, store, {"a": TEXT})
    digest = contents["a"].digest
    assert set(store.held(ANN, {digest, b"?" * 32})) == {digest}
    assert not store.held(BOB, {digest})
    with pytest.raises(ContentsGone):
        composed(bundles, store, changes_of(("a", contents["a"])), user=BOB)


def test_another_size_than_announced_is_refused(
    changes_of: ChangesOf, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    _, contents = submitted(bundles, store, {"a": TEXT})
    real = contents["a"]
    lie = Content(real.digest, 0, 0, real.size_bytes - 1, 0, 0)
    with pytest.raises(BundleRejected, match="another size"):
        composed(bundles, store, changes_of(("a", lie)))


def test_a_kept_archive_that_was_cut_off_is_as_good_as_gone(
    tmp_path: Path, changes_of: ChangesOf, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    job_id, contents = submitted(bundles, store, {"a": NOISE})
    os.truncate(tmp_path / "bundles" / INSTANCE / "kept" / ANN / f"{job_id}.zip", 1000)
    with pytest.raises(ContentsGone, match="send all of them"):
        composed(bundles, store, changes_of(("a", contents["a"])))


def test_limits_hold_for_what_is_composed(
    tmp_path: Path, changes_of: ChangesOf, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    _, contents = submitted(bundles, store, {"b": NOISE})
    changes = changes_of(("1", contents["b"]), ("2", contents["b"]))
    target = bundles.receive()
    with pytest.raises(InvalidInput, match="CI_MAX_UPLOAD_BYTES"):
        store.compose(ANN, changes, target.file, 500_000)
    full = DirectoryContentStore(tmp_path, INSTANCE, disk_of=lambda _folder: FULL)
    with pytest.raises(StorageFull):
        full.compose(ANN, changes, target.file, UNLIMITED)
    assert os.fstat(target.file.fileno()).st_size == 0
    target.discard()


def test_data_of_links_count_as_all_others(
    bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    blocks_of_nothing = b"\0\0\0\xff\xff" * 20_000
    link = RawEntry(b"link", b"a", mode=0o120777, packed=blocks_of_nothing + b"\x4b\x04\0")
    archive = io.BytesIO(RawZip([link]).build())
    changes = read_changes(read_bundle(archive, BundleLimits(), references_allowed=True))
    target = bundles.receive()
    with pytest.raises(InvalidInput, match="CI_MAX_UPLOAD_BYTES"):
        store.compose(ANN, changes, target.file, 50_000)
    assert os.fstat(target.file.fileno()).st_size == 0
    target.discard()


def test_what_is_swept_meanwhile_is_gone_and_what_is_open_is_read(
    tmp_path: Path, changes_of: ChangesOf, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    _, contents = submitted(bundles, store, {"a": TEXT})
    changes = changes_of(("a", contents["a"]))
    DirectoryContentStore(tmp_path, INSTANCE, longest_seconds=-1, disk_of=lambda _folder: ROOMY).sweep()
    assert kept_names(tmp_path) == []
    with pytest.raises(ContentsGone):
        composed(bundles, store, changes)


def test_of_one_project_two_are_kept_and_of_several_the_newest(
    tmp_path: Path, bundles: DirectoryBundleStore
) -> None:
    store = DirectoryContentStore(tmp_path, INSTANCE, most_for_a_user=2, disk_of=lambda _folder: ROOMY)
    common = {"common": TEXT, "more": NOISE}
    jobs = [submitted(bundles, store, {**common, "own": bytes([n]) * 70})[0] for n in range(4)]
    others = [submitted(bundles, store, {"other": os.urandom(1000)})[0] for _ in range(2)]
    kept = {JobId(name.partition(".")[0]) for name in kept_names(tmp_path)}
    assert kept.isdisjoint(jobs[:2])
    assert set(others) <= kept
    assert not kept.issuperset({jobs[3]})
    assert len(kept) <= 3


def test_a_torn_index_gives_its_archive_up(
    tmp_path: Path, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    job_id, contents = submitted(bundles, store, {"a": TEXT})
    index = tmp_path / "bundles" / INSTANCE / "kept" / ANN / f"{job_id}.index"
    index.write_bytes(index.read_bytes()[:-1])
    assert not store.held(ANN, {contents["a"].digest})
    assert kept_names(tmp_path) == []
    with bundles.open(job_id) as file:  # the job's own is untouched
        assert file.read(2) == b"PK"


def test_leftovers_of_a_crash_are_swept(
    tmp_path: Path, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    job_id, _ = submitted(bundles, store, {"a": TEXT})
    folder = tmp_path / "bundles" / INSTANCE / "kept" / ANN
    (folder / f"{job_id}.index").unlink()
    for name in ("x.unfinished", "y.index"):
        (folder / name).write_bytes(b"")
        os.utime(folder / name, (1, 1))
    os.utime(folder / f"{job_id}.zip", (1, 1))
    store.sweep()
    assert not folder.exists()


def test_a_disk_that_is_not_roomy_gives_everything_up(
    tmp_path: Path, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    submitted(bundles, store, {"a": TEXT})
    submitted(bundles, store, {"b": NOISE}, user=BOB)
    store.sweep()
    assert kept_names(tmp_path) != []
    tight = DirectoryContentStore(tmp_path, INSTANCE, disk_of=lambda _folder: TIGHT)
    tight.sweep()
    assert kept_names(tmp_path) == kept_names(tmp_path, BOB) == []
    submitted(bundles, tight, {"a": TEXT})
    assert kept_names(tmp_path) == []


def test_an_upload_gets_the_room_that_kept_archives_take(
    tmp_path: Path, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    oldest, _ = submitted(bundles, store, {"a": TEXT})
    submitted(bundles, store, {"b": NOISE}, user=BOB)
    hour_ago = time.time() - 3600
    os.utime(tmp_path / "bundles" / INSTANCE / "kept" / ANN / f"{oldest}.index", (hour_ago, hour_ago))
    disk = DiskOfKept(tmp_path)
    kept = DirectoryContentStore(tmp_path, INSTANCE, disk_of=disk)
    receiving = DirectoryBundleStore(tmp_path, INSTANCE, reclaim=kept.make_room, disk_of=disk)
    receiving.receive().discard()
    assert (kept_names(tmp_path), len(kept_names(tmp_path, BOB))) == ([], 2)
    with pytest.raises(StorageFull):
        DirectoryBundleStore(tmp_path, INSTANCE, disk_of=lambda _folder: Disk(1 << 40, 0)).receive()


def test_what_is_put_together_gets_the_room_of_other_kept_archives(
    tmp_path: Path, changes_of: ChangesOf, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    _, contents = submitted(bundles, store, {"a": TEXT})
    submitted(bundles, store, {"b": NOISE}, user=BOB)
    kept = DirectoryContentStore(tmp_path, INSTANCE, disk_of=DiskOfKept(tmp_path))
    assert composed(bundles, kept, changes_of(("a", contents["a"]))) == {"a": TEXT}
    assert (len(kept_names(tmp_path)), kept_names(tmp_path, BOB)) == (2, [])


def test_a_job_that_has_ended_already_is_no_fault(
    tmp_path: Path, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    bundles.receive().discard()
    store.keep(ANN, new_job_id(), [])
    assert kept_names(tmp_path) == []
    assert list(bundles.job_ids()) == []


def test_age_counts_from_when_it_was_kept(
    tmp_path: Path, bundles: DirectoryBundleStore, store: DirectoryContentStore
) -> None:
    job_id, _ = submitted(bundles, store, {"a": TEXT})
    folder = tmp_path / "bundles" / INSTANCE / "kept" / ANN
    os.utime(folder / f"{job_id}.zip", (1, 1))
    store.sweep()
    assert len(kept_names(tmp_path)) == 2
    day_ago = time.time() - 25 * 3600
    os.utime(folder / f"{job_id}.index", (day_ago, day_ago))
    store.sweep()
    assert kept_names(tmp_path) == []
