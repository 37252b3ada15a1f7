import os
import time
from pathlib import Path

import pytest

from ci_client import digest_cache
from ci_client.digest_cache import Digest, noted

LONG_AGO_NS = 10**9 * 10**9


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ci"


def state_of(path: Path, text: str = "x") -> os.stat_result:
    path.write_text(text)
    return path.stat()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    digests = {
        "a b/ünï é": Digest(b"\x01" * 32, 1, 2, 3, 4),
        " leading": Digest(b"\x02" * 32, 1 << 40, 2, 3, 4),
    }
    digest_cache.save(tmp_path, digests)
    assert digest_cache.load(tmp_path) == digests
    assert digest_cache.load(tmp_path / "other") == {}


@pytest.mark.parametrize(
    "content", [b"", b"other 1\n", b"ci-digests 1\nzz 1 2 3 4 a", b"ci-digests 1\n\xff\xff"]
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, cache_folder: Path, content: bytes) -> None:
    digest_cache.save(tmp_path, {"a": Digest(b"1" * 32, 1, 2, 3, 4)})
    (file,) = cache_folder.iterdir()
    file.write_bytes(content)
    assert digest_cache.load(tmp_path) == {}


def test_a_folder_that_can_not_be_written_is_no_fault(tmp_path: Path, cache_folder: Path) -> None:
    cache_folder.parent.write_text("a file in its place")
    digest_cache.save(tmp_path, {"a": Digest(b"1" * 32, 1, 2, 3, 4)})
    assert digest_cache.load(tmp_path) == {}


def test_what_was_not_used_for_long_is_dropped(tmp_path: Path, cache_folder: Path) -> None:
    digest_cache.save(tmp_path / "old", {"a": Digest(b"1" * 32, 1, 2, 3, 4)})
    (old,) = cache_folder.iterdir()
    os.utime(old, (1, 1))
    digest_cache.save(tmp_path / "new", {"a": Digest(b"1" * 32, 1, 2, 3, 4)})
    assert old not in set(cache_folder.iterdir())
    assert digest_cache.load(tmp_path / "new") != {}


def test_a_file_changed_just_before_it_was_read_is_not_noted(tmp_path: Path) -> None:
    found = state_of(tmp_path / "a")
    newest_ns = max(found.st_mtime_ns, found.st_ctime_ns)
    assert noted(b"1" * 32, found, newest_ns) is None
    assert noted(b"1" * 32, found, newest_ns + 1_000_000_000) is None
    assert noted(b"1" * 32, found, newest_ns + 3_000_000_000) is not None


def test_a_date_in_the_future_is_not_noted(tmp_path: Path) -> None:
    state_of(tmp_path / "a")
    os.utime(tmp_path / "a", (2e9 + 2e9, 2e9 + 2e9))
    assert noted(b"1" * 32, (tmp_path / "a").stat(), time.time_ns()) is None


def test_any_change_of_state_is_a_change(tmp_path: Path) -> None:
    path = tmp_path / "a"
    found = state_of(path)
    digest = noted(b"1" * 32, found, found.st_ctime_ns + LONG_AGO_NS)
    assert digest is not None
    assert digest.still_holds(path.stat())
    path.chmod(0o600)  # the inode's own time changes, too
    assert not digest.still_holds(path.stat()) or path.stat().st_ctime_ns == found.st_ctime_ns
    other = tmp_path / "b"
    other.write_text("y")
    os.utime(other, ns=(found.st_mtime_ns, found.st_mtime_ns))
    other.replace(path)
    assert not digest.still_holds(path.stat())
