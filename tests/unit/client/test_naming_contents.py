"""Which files of a project are only named, and that what is named is what they hold."""

import hashlib
import mmap
import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from ci_client import digest_cache
from ci_client.bundling import Archive, pack
from ci_client.digest_cache import Digest
from tests.unit.client.trees import make_tree

LARGE = bytes(2 << 20)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = make_tree(tmp_path / "project", {"requirements.txt": "pytest"})
    (root / "large.bin").write_bytes(LARGE)
    return root


def sent(root: Path) -> Archive:
    """Packed for a server that has everything that it is asked about."""

    def held(digests: Collection[bytes]) -> Collection[bytes]:
        return digests

    archive = pack(root, lambda: None, lambda _number, _count, _read_bytes: None, held)
    archive.file.close()
    digest_cache.save(root, archive.digests)
    return archive


def test_a_file_that_was_new_when_it_was_sent_is_read_again_and_named(root: Path) -> None:
    first, again = sent(root), sent(root)
    assert (first.reference_count, again.reference_count) == (0, 1)
    assert again.digests["large.bin"].sha256 == hashlib.sha256(LARGE).digest()


def test_a_file_that_was_touched_is_read_again_and_named(root: Path) -> None:
    sent(root)
    os.utime(root / "large.bin", (1, 1))
    assert sent(root).reference_count == 1


def test_what_a_mapping_wrote_unseen_is_sent(root: Path) -> None:
    with (root / "large.bin").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        mapping[0] = 1
        sent(root)
        mapping[1] = 1
        assert sent(root).reference_count == 0


def test_a_file_whose_state_proves_its_content_is_not_read(root: Path) -> None:
    state = (root / "large.bin").stat()
    times = state.st_mtime_ns, state.st_ctime_ns
    digest = Digest(b"as noted".ljust(32), state.st_size, *times, state.st_ino, is_certain=True)
    digest_cache.save(root, {"large.bin": digest})
    assert sent(root).digests["large.bin"] == digest
    digest_cache.save(root, {"large.bin": replace(digest, is_certain=False)})
    assert sent(root).reference_count == 0
