"""Many files, and one that is larger than 4 GiB."""

import io
import resource
from pathlib import Path

from ci_client.archive import ArchiveWriter
from ci_client.bundling import pack
from ci_client.selection import Entry
from ci_common.bundle import BundleLimits, EntryKind, read_bundle

FOUR_GIB = 4 << 30
MANY = 50_000


def nothing() -> None:
    """No pause."""


def quiet(_number: int, _count: int, _read_bytes: int) -> None:
    """No progress."""


class SparseFile(io.FileIO):
    """Leaves holes where zeros are written, so that the archive takes no room."""

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride] - bytes alone
        if len(data) > 4096 and not any(data[:64]) and data.count(0) == len(data):
            self.seek(len(data), io.SEEK_CUR)
            return len(data)
        return super().write(data) or 0


def test_a_file_over_four_gib(tmp_path: Path) -> None:
    size_bytes = FOUR_GIB + 12345
    with (tmp_path / "huge.zip").open("wb") as file:
        file.truncate(size_bytes)
    (tmp_path / "after.py").write_text("x = 1\n")
    with SparseFile(tmp_path / "archive", "w+") as file:
        writer = ArchiveWriter(tmp_path, file, None)  # pyright: ignore[reportArgumentType] - FileIO is binary
        for name in ("huge.zip", "after.py"):
            writer.add(Entry(name, EntryKind.FILE), nothing)
        writer.close()
    with (tmp_path / "archive").open("rb") as archive:
        bundle = read_bundle(archive, BundleLimits())
        assert b"".join(bundle.chunks(bundle.entries[1])) == b"x = 1\n"
    assert [entry.size_bytes for entry in bundle.entries] == [size_bytes, 6]
    assert writer.remarks == []


def test_fifty_thousand_small_files(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("pytest\n")
    for number in range(MANY):
        folder = tmp_path / f"d{number % 250}"
        if number < 250:
            folder.mkdir()
        (folder / f"f{number}.py").write_text(f"x = {number}\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    archive = pack(tmp_path, nothing, quiet)
    with archive.file:
        archive.file.seek(0)
        bundle = read_bundle(io.BytesIO(archive.file.read()), BundleLimits())
        bundle.verify()
    assert len(bundle.entries) == MANY + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # kB
