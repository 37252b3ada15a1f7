"""What is written is read alike by our reader and by the standard library's."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.bundle import BundleLimits, read_bundle
from ci_common.zip_directory import locate_directory, records
from ci_common.zip_writer import WIDE_BYTES, ZipEntry, end_of_archive, timed


def archive_of(*entries: tuple[ZipEntry, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    for entry, data in entries:
        entry.header_offset = file.tell()
        entry.size_bytes = entry.compressed_bytes = len(data)
        file.write(entry.local_header() + data)
    start = file.tell()
    directory = b"".join(entry.record() for entry, _ in entries)
    file.write(directory + end_of_archive(len(entries), start, len(directory)))
    return file


@given(
    st.lists(st.from_regex(r"[a-zé\U0001f600]{1,20}", fullmatch=True), min_size=1, unique=True),
    st.floats(-1e12, 1e12),
    st.booleans(),
)
def test_both_readers_agree(names: list[str], mtime: float, is_wide: bool) -> None:
    entries = [timed(ZipEntry(name.encode(), 0o100644, is_wide=is_wide), mtime) for name in names]
    file = archive_of(*((entry, b"") for entry in entries))
    theirs = zipfile.ZipFile(file)
    assert theirs.namelist() == [entry.path for entry in read_bundle(file, BundleLimits()).entries] == names
    assert theirs.testzip() is None
    assert 1980 <= theirs.infolist()[0].date_time[0] <= 2107


@pytest.mark.parametrize("offset", [0, 0xFFFFFFFE, 0xFFFFFFFF, 5 << 32])
@pytest.mark.parametrize("size_bytes", [1, WIDE_BYTES, 1 << 33])
def test_large_figures_have_their_room(offset: int, size_bytes: int) -> None:
    entry = ZipEntry(b"x", 0o100644, is_wide=size_bytes >= WIDE_BYTES)
    entry.size_bytes = entry.compressed_bytes = size_bytes
    entry.header_offset = offset
    file = io.BytesIO(entry.record())
    file.seek(0, 2)
    file.write(end_of_archive(1, 0, len(entry.record())))
    (found,) = records(file, locate_directory(file))
    assert (found.size_bytes, found.compressed_bytes, found.header_offset) == (size_bytes, size_bytes, offset)


def test_many_entries_are_counted() -> None:
    record = ZipEntry(b"x", 0o100644).record()
    file = io.BytesIO(record * 70_000 + end_of_archive(70_000, 0, len(record) * 70_000))
    assert locate_directory(file).count == 70_000


def test_the_local_header_keeps_its_length() -> None:
    entry = ZipEntry(b"x", 0o100644, is_wide=True)
    before = len(entry.local_header())
    entry.size_bytes, entry.compressed_bytes, entry.crc = 5, 7, 9
    assert len(entry.local_header()) == before
