"""What is fed is what was uploaded: through the runner's own reader, and through `tarfile`."""

import hashlib
import io
import json
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.bundle import Bundle, BundleLimits, read_bundle
from ci_common.errors import BundleRejected
from ci_controller.feeding import PIECE_BYTES, feed_stream
from ci_controller.runner_spec import RunnerSpec
from ci_controller.runner_upload import RefusedError, UnfedError, Upload, unpack

SPEC = RunnerSpec(uid=1, gid=1, steps=(), time_limit_seconds=1)


def bundle_of(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> Bundle:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return read_bundle(file, BundleLimits())


def info(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (2021, 2, 3, 4, 5, 6))
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry


def without_spec(stream: Iterable[bytes]) -> bytes:
    data = b"".join(stream)
    length = int.from_bytes(data[:4], "big")
    assert json.loads(data[4 : 4 + length]) == json.loads(SPEC.to_json())
    return data[4 + length :]


def tar_of(stream: Iterable[bytes]) -> bytes:
    data = without_spec(stream)
    tar = bytearray()
    while length := int.from_bytes(data[:4], "big"):
        tar += data[4 : 4 + length]
        data = data[4 + length :]
    assert data[4:] == hashlib.sha256(tar).digest()
    return bytes(tar)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty; unpacking changes into it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def unpacked(stream: Iterable[bytes], folder: Path, limit_bytes: int | None = None) -> int:
    return unpack(Upload(io.BytesIO(without_spec(stream))), str(folder), limit_bytes)


LONG = "/".join(["a" * 120, "b" * 200, "ü" * 100, "c.py"])


def test_everything_an_archive_may_hold(folder: Path) -> None:
    bundle = bundle_of(
        (info("src/deep/x.py"), b"x = 1\n"),
        (info("run.sh", 0o100755), b"#!/bin/sh\n"),
        (info("empty/", 0o040755), b""),
        (info("none"), b""),
        (info("grüße \U0001f600.txt"), b"hello"),
        (info(LONG), b"long"),
        (info("link", 0o120777), b"src/deep"),
        (info("dangling", 0o120777), ("d/" * 200 + "ä").encode()),
        (info("block"), b"z" * 512),
    )
    size_bytes = unpacked(feed_stream(SPEC, bundle), folder)
    assert size_bytes == 6 + 10 + 5 + 4 + 512
    assert (folder / "src/deep/x.py").read_bytes() == b"x = 1\n"
    assert (folder / "src/deep/x.py").stat().st_mode & 0o777 == 0o644
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (folder / "run.sh").stat().st_mtime == bundle.entries[1].mtime
    assert list((folder / "empty").iterdir()) == []
    assert (folder / "none").read_bytes() == b""
    assert (folder / "grüße \U0001f600.txt").read_bytes() == b"hello"
    assert (folder / LONG).read_bytes() == b"long"
    assert (folder / "link").readlink() == Path("src/deep")
    assert str((folder / "dangling").readlink()) == "d/" * 200 + "ä"
    assert (folder / "block").read_bytes() == b"z" * 512


def test_the_stream_is_a_tar_for_everybody() -> None:
    bundle = bundle_of(
        (info("run.sh", 0o100755), b"#!"), (info(LONG), b"x" * 1000), (info("d/", 0o040755), b"")
    )
    with tarfile.open(fileobj=io.BytesIO(tar_of(feed_stream(SPEC, bundle))), mode="r:") as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == ["run.sh", LONG, "d"]
        assert [member.mode for member in members] == [0o755, 0o644, 0o755]
        long = tar.extractfile(members[1])
        assert long is not None
        assert long.read() == b"x" * 1000


def test_only_chosen_entries_go(folder: Path) -> None:
    bundle = bundle_of((info("requirements.txt"), b"pytest\n"), (info("test_a.py"), b""))
    unpacked(feed_stream(SPEC, bundle, only=["requirements.txt"]), folder)
    assert [path.name for path in folder.iterdir()] == ["requirements.txt"]


def test_plain_files(folder: Path) -> None:
    unpacked(feed_stream(SPEC, [("a/b.txt", b"1"), ("c.txt", b"")]), folder)
    assert (folder / "a/b.txt").read_bytes() == b"1"
    assert (folder / "c.txt").read_bytes() == b""


def test_no_files(folder: Path) -> None:
    assert unpacked(feed_stream(SPEC), folder) == 0
    assert list(folder.iterdir()) == []


def test_small_files_share_pieces_and_large_ones_are_cut() -> None:
    many = bundle_of(*((info(f"{number}.py"), b"x") for number in range(1000)))
    assert len(list(feed_stream(SPEC, many))) < 10
    large = bundle_of((info("large"), os.urandom(3 * PIECE_BYTES)))
    assert max(map(len, feed_stream(SPEC, large))) < 3 * PIECE_BYTES


def test_memory_stays_bounded() -> None:
    bundle = bundle_of((info("zeros"), bytes(64 << 20)))
    tracemalloc.start()
    try:
        for _ in feed_stream(SPEC, bundle):
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 << 20


def test_a_damaged_archive_leaves_the_stream_incomplete(folder: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"good data")
    bundle = read_bundle(io.BytesIO(file.getvalue().replace(b"good data", b"bad! data")), BundleLimits())
    pieces: list[bytes] = []
    with pytest.raises(BundleRejected):
        pieces.extend(feed_stream(SPEC, bundle))
    with pytest.raises(UnfedError):
        unpacked(pieces or [b"\0\0\0\0"], folder)


@pytest.mark.parametrize("cut", [1, 33, 36, 40, 600, 1500])
def test_a_cut_stream_is_unfed(folder: Path, cut: int) -> None:
    data = without_spec(feed_stream(SPEC, [("a", b"x" * 700), ("b", b"")]))
    with pytest.raises(UnfedError):
        unpack(Upload(io.BytesIO(data[:-cut])), str(folder), None)


def test_a_changed_byte_is_unfed(folder: Path) -> None:
    data = bytearray(without_spec(feed_stream(SPEC, [("a", b"x" * 700)])))
    data[600] ^= 1
    with pytest.raises(UnfedError):
        unpack(Upload(io.BytesIO(data)), str(folder), None)


def stream_of(tar: bytes) -> io.BytesIO:
    return io.BytesIO(len(tar).to_bytes(4, "big") + tar + bytes(4) + hashlib.sha256(tar).digest())


def one_member(name: str, kind: bytes = tarfile.REGTYPE) -> io.BytesIO:
    member = tarfile.TarInfo(name)
    member.type = kind
    return stream_of(member.tobuf(tarfile.PAX_FORMAT) + bytes(1024))


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a//x", ".."])
def test_a_path_that_leads_outside_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="no path inside the project") as refused:
        unpack(Upload(one_member(name)), str(folder), None)
    assert refused.value.end == "bad_files"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"g"])
def test_other_kinds_are_refused(folder: Path, kind: bytes) -> None:
    with pytest.raises(RefusedError, match="neither file nor folder nor symlink"):
        unpack(Upload(one_member("x", kind)), str(folder), None)


def test_a_name_that_is_taken_is_refused(folder: Path) -> None:
    with pytest.raises(RefusedError, match="a: File exists"):
        unpacked(feed_stream(SPEC, [("a", b"1"), ("a", b"2")]), folder)


def test_too_much_is_refused_unwritten(folder: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        unpacked(feed_stream(SPEC, [("a", b"1" * 600), ("b", b"2" * 600)]), folder, limit_bytes=1000)
    assert refused.value.end == "disk_limit"
    assert [path.name for path in folder.iterdir()] == ["a"]


names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200)


@given(st.dictionaries(names, st.binary(max_size=1100), max_size=6))
def test_any_names_and_sizes_come_through(files: dict[str, bytes]) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(feed_stream(SPEC, list(files.items())))), mode="r:") as tar:
        found = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        assert {name: file.read() for name, file in found.items() if file is not None} == files
