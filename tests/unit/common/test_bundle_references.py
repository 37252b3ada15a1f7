"""Archives that name contents: only where that is allowed, and by no other rules than all archives."""

import hashlib
import io

import pytest

from ci_common.bundle import BundleEntry, BundleLimits, read_bundle
from ci_common.content_store import read_changes
from ci_common.errors import BundleRejected
from ci_common.zip_writer import REFERENCE
from tests.unit.common.raw_zip import RawEntry, RawZip

DIGEST = hashlib.sha256(b"content").digest()


def reference(name: bytes = b"a.py", **fields: object) -> RawEntry:
    values: dict[str, object] = {"packed": DIGEST, "size": 7, "method": REFERENCE, **fields}
    return RawEntry(name, **values)  # pyright: ignore[reportArgumentType] - the fields are RawEntry's own


def archive_of(*entries: RawEntry) -> io.BytesIO:
    return io.BytesIO(RawZip(list(entries)).build())


def refusal(*entries: RawEntry, limits: BundleLimits | None = None) -> str:
    with pytest.raises(BundleRejected) as caught:
        read_changes(read_bundle(archive_of(*entries), limits or BundleLimits(), references_allowed=True))
    return str(caught.value)


def test_a_reference_tells_its_digest_and_announced_size() -> None:
    bundle = read_bundle(
        archive_of(reference(), RawEntry(b"b", b"1")), BundleLimits(), references_allowed=True
    )
    changes = read_changes(bundle)
    assert changes.named == {"a.py": DIGEST}
    assert [(entry.path, entry.size_bytes, entry.is_reference) for entry in bundle.entries] == [
        ("a.py", 7, True),
        ("b", 1, False),
    ]
    held = changes.held["b"]
    assert (held.digest, held.size_bytes) == (hashlib.sha256(b"1").digest(), 1)


def test_elsewhere_it_is_refused() -> None:
    with pytest.raises(BundleRejected, match="compression method 17225"):
        read_bundle(archive_of(reference()), BundleLimits())


@pytest.mark.parametrize("packed", [b"", DIGEST[:-1], DIGEST + b"\0"])
def test_a_digest_has_its_length(packed: bytes) -> None:
    assert "is no file or no SHA-256" in refusal(reference(packed=packed))


@pytest.mark.parametrize("mode", [0o120777, 0o040755])
def test_links_and_folders_are_never_named(mode: int) -> None:
    assert "is no file or no SHA-256" in refusal(reference(mode=mode))


@pytest.mark.parametrize("name", [b"../x", b"/x", b"a\\b", b"a//b", b"x/"])
def test_names_are_judged_as_ever(name: bytes) -> None:
    refusal(reference(name))


def test_names_occur_once() -> None:
    assert "occurs twice" in refusal(reference(), reference())


def test_announced_sizes_count() -> None:
    limits = BundleLimits(max_unpacked_bytes=10)
    assert "unpacks to more than the 10 bytes" in refusal(reference(), reference(b"b"), limits=limits)


def test_a_digest_that_is_cut_off_or_shared_is_refused() -> None:
    assert "overlaps" in refusal(reference(), reference(b"b", offset=0))
    assert "is cut off" in refusal(reference(offset=3))


def test_a_damaged_content_is_found_although_nobody_asked_for_hashes() -> None:
    damaged = RawEntry(b"a", b"1", crc=5)
    bundle = read_bundle(archive_of(damaged), BundleLimits())
    for note in (None, _ignore):
        with pytest.raises(BundleRejected, match="checksum"):
            bundle.verify(note)


def _ignore(_entry: BundleEntry, _digest: bytes) -> None:
    """Nothing to do."""
