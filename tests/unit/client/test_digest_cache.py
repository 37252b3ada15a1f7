import mmap
import os
import time
from pathlib import Path

import pytest

from ci_client import digest_cache
from ci_client.digest_cache import Digest, devices_in_memory, noted

LONG_AGO_NS = 10**9 * 10**9


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ci"


DIGESTS = {"a": Digest(b"1" * 32, 1, 2, 3, 4, is_certain=True)}


def state_of(path: Path, text: str = "x") -> os.stat_result:
    path.write_text(text)
    return path.stat()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    digests = {
        "a b/ünï é": Digest(b"\x01" * 32, 1, 2, 3, 4, is_certain=True),
        " leading": Digest(b"\x02" * 32, 1 << 40, 2, 3, 4, is_certain=False),
    }
    digest_cache.save(tmp_path, digests)
    assert digest_cache.load(tmp_path) == digests
    assert digest_cache.load(tmp_path / "other") == {}


@pytest.mark.parametrize(
    "content", [b"", b"other 1\n", b"ci-digests 2\nzz 1 2 3 4 1 a", b"ci-digests 2\n\xff\xff"]
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, cache_folder: Path, content: bytes) -> None:
    digest_cache.save(tmp_path, DIGESTS)
    (file,) = cache_folder.iterdir()
    file.write_bytes(content)
    assert digest_cache.load(tmp_path) == {}


def test_a_folder_that_can_not_be_written_is_no_fault(tmp_path: Path, cache_folder: Path) -> None:
    cache_folder.parent.write_text("a file in its place")
    digest_cache.save(tmp_path, DIGESTS)
    assert digest_cache.load(tmp_path) == {}


def test_what_was_not_used_for_long_is_dropped(tmp_path: Path, cache_folder: Path) -> None:
    digest_cache.save(tmp_path / "old", DIGESTS)
    (old,) = cache_folder.iterdir()
    left_over = cache_folder / "unfinished-x.digests"
    left_over.write_text("")
    for path in (old, left_over):
        os.utime(path, (1, 1))
    digest_cache.save(tmp_path / "new", DIGESTS)
    assert {old, left_over}.isdisjoint(cache_folder.iterdir())
    assert digest_cache.load(tmp_path / "new") != {}


def test_what_is_used_is_not_dropped(tmp_path: Path, cache_folder: Path) -> None:
    digest_cache.save(tmp_path / "old", DIGESTS)
    (old,) = cache_folder.iterdir()
    os.utime(old, (1, 1))
    digest_cache.load(tmp_path / "old")
    digest_cache.save(tmp_path / "new", DIGESTS)
    assert digest_cache.load(tmp_path / "old") == DIGESTS


def test_what_others_have_in_the_folder_stays_and_is_in_nobodys_way(
    tmp_path: Path, cache_folder: Path
) -> None:
    cache_folder.mkdir(parents=True)
    other = cache_folder / "another-program.db"
    other.write_text("")
    folder = cache_folder / "a-folder.digests"  # which can't be removed as a file is
    folder.mkdir()
    for path in (other, folder):
        os.utime(path, (1, 1))
    digest_cache.save(tmp_path, DIGESTS)
    assert digest_cache.load(tmp_path) == DIGESTS
    assert other.exists()


def test_a_file_changed_less_than_a_minute_before_it_was_read_proves_nothing(tmp_path: Path) -> None:
    found = state_of(tmp_path / "a")
    newest_ns = max(found.st_mtime_ns, found.st_ctime_ns)
    assert not noted(b"1" * 32, found, newest_ns).is_certain
    assert not noted(b"1" * 32, found, newest_ns + 59 * 10**9).is_certain
    assert noted(b"1" * 32, found, newest_ns + 61 * 10**9).is_certain


def test_a_write_through_a_mapping_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5000))
    with (tmp_path / "a").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0] = 1
        found = (tmp_path / "a").stat()
        digest = noted(b"1" * 32, found, time.time_ns())
        mapping[0] = 2  # the times stay until the page was written to the disk
        assert not digest.still_holds((tmp_path / "a").stat())


def test_a_date_in_the_future_proves_nothing(tmp_path: Path) -> None:
    state_of(tmp_path / "a")
    os.utime(tmp_path / "a", (2e9 + 2e9, 2e9 + 2e9))
    assert not noted(b"1" * 32, (tmp_path / "a").stat(), time.time_ns()).is_certain


def test_a_file_in_memory_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = state_of(tmp_path / "a")
    monkeypatch.setattr(digest_cache, "_memory_devices", lambda: frozenset({found.st_dev}))
    assert not noted(b"1" * 32, found, found.st_ctime_ns + LONG_AGO_NS).is_certain


def test_a_creation_time_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = state_of(tmp_path / "a")
    monkeypatch.setattr("sys.platform", "win32")
    assert not noted(b"1" * 32, found, found.st_ctime_ns + LONG_AGO_NS).is_certain


def test_file_systems_in_memory_are_known_from_the_list_of_mounts() -> None:
    mounts = (
        "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"
        "25 24 0:23 / /dev/shm rw shared:4 master:1 - tmpfs tmpfs rw,size=1k\n"
        "26 24 0:24 / /mnt/a\\040b rw - ramfs none rw\n"
    )
    assert devices_in_memory(mounts) == {os.makedev(0, 23), os.makedev(0, 24)}


def test_any_change_of_state_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "a"
    found = state_of(path)
    digest = noted(b"1" * 32, found, found.st_ctime_ns + LONG_AGO_NS)
    assert digest.still_holds(path.stat())
    path.chmod(0o600)  # the inode's own time changes, too
    assert not digest.still_holds(path.stat()) or path.stat().st_ctime_ns == found.st_ctime_ns
    other = tmp_path / "b"
    other.write_text("y")
    os.utime(other, ns=(found.st_mtime_ns, found.st_mtime_ns))
    other.replace(path)
    assert not digest.still_holds(path.stat())
