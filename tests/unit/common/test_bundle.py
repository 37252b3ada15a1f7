import io
import random
import struct
import zipfile
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.bundle import Bundle, BundleEntry, BundleLimits, EntryKind, read_bundle
from ci_common.bundle_paths import shown
from tests.unit.common.raw_zip import RawEntry, RawZip

LINK = 0o120777


def read(archive: bytes) -> Bundle:
    bundle = read_bundle(io.BytesIO(archive), BundleLimits())
    bundle.verify()
    return bundle


def entry_of(*entries: RawEntry) -> BundleEntry:
    return read(RawZip(list(entries)).build()).entries[0]


def content(bundle: Bundle, path: str) -> bytes:
    (entry,) = [entry for entry in bundle.entries if entry.path == path]
    return b"".join(bundle.chunks(entry))


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def test_files_come_back_as_they_were() -> None:
    files = {
        "requirements.txt": b"pytest\n",
        "empty.txt": b"",
        "random.bin": random.Random(7).randbytes(1_000_000),
        "tests/data/zeros.bin": bytes(3_000_000),
    }
    bundle = read(zipped(files))
    assert [entry.path for entry in bundle.entries] == list(files)
    for path, data in files.items():
        assert content(bundle, path) == data


@given(
    st.dictionaries(
        st.from_regex(r"[abcä]{1,3}(-[bc日]{1,3})?", fullmatch=True),
        st.binary(max_size=400),
        min_size=1,
        max_size=6,
    )
)
def test_what_the_standard_library_writes_is_read_alike(files: dict[str, bytes]) -> None:
    bundle = read(zipped(files))
    assert {entry.path: content(bundle, entry.path) for entry in bundle.entries} == files


def test_directories_also_empty_ones() -> None:
    bundle = read(zipped({"empty/": b"", "full/": b"", "full/x": b"1"}))
    assert [(entry.path, entry.kind) for entry in bundle.entries] == [
        ("empty", EntryKind.DIRECTORY),
        ("full", EntryKind.DIRECTORY),
        ("full/x", EntryKind.FILE),
    ]


def test_a_directory_may_be_told_by_its_mode_or_by_dos_alone() -> None:
    assert entry_of(RawEntry(b"d", mode=0o040755)).kind is EntryKind.DIRECTORY
    assert entry_of(RawEntry(b"d", mode=0, dos_attributes=0x10)).kind is EntryKind.DIRECTORY
    assert entry_of(RawEntry(b"d/", mode=0)).kind is EntryKind.DIRECTORY
    assert entry_of(RawEntry(b"d", b"1", mode=0, create_system=0)).kind is EntryKind.FILE


def test_names_that_differ_by_case_and_names_beside_a_directory_pass() -> None:
    files = {"Readme": b"1", "README": b"2", "readme/x": b"3", "readme!": b"4", "readme.txt": b"5"}
    assert len(read(zipped(files)).entries) == 5


def test_nested_archives_pass() -> None:
    inner = zipped({"../evil": b"harmless as data"})
    bundle = read(zipped({"data/inner.zip": inner}))
    assert content(bundle, "data/inner.zip") == inner


def test_a_stored_archive_within_an_archive_passes() -> None:
    inner = zipped({"a": b"1"})
    assert content(read(RawZip([RawEntry(b"i.zip", inner, method=0)]).build()), "i.zip") == inner


def test_a_high_ratio_within_the_real_limits_passes() -> None:
    assert entry_of(RawEntry(b"zeros", bytes(20 << 20))).size_bytes == 20 << 20


@pytest.mark.parametrize(
    ("mode", "executable"), [(0o100755, True), (0o100644, False), (0o104755, True), (0o102711, True)]
)
def test_modes_are_reduced_to_the_executable_bit(mode: int, executable: bool) -> None:
    assert entry_of(RawEntry(b"run.sh", b"#!", mode=mode)).executable is executable


@pytest.mark.parametrize(
    "links",
    [
        {"link": "file"},
        {"a/link": "../file"},
        {"a/b/link": "../../file"},
        {"link": "missing/thing"},
        {"link": "."},
        {"one": "two", "two": "one"},
        {"self": "self"},
        {"x/up": "..", "link": "x/up/x/up/file"},
        {"link": "a/../file"},
    ],
)
def test_links_that_stay_inside_pass(links: dict[str, str]) -> None:
    raw = [RawEntry(name.encode(), target.encode(), mode=LINK) for name, target in links.items()]
    bundle = read(RawZip([*raw, RawEntry(b"file", b"1")]).build())
    assert {e.path: e.target for e in bundle.entries if e.kind is EntryKind.SYMLINK} == links


def test_names_in_every_coding_that_writers_use() -> None:
    assert entry_of(RawEntry("tést/ж/日本.py".encode(), b"1")).path == "tést/ж/日本.py"
    assert entry_of(RawEntry(b"caf\x82", b"1", flags=0)).path == "café"
    raw = b"caf\xe9"
    crc = zlib.crc32(raw)
    extra = (
        b"\x75\x70" + (5 + 5).to_bytes(2, "little") + b"\x01" + crc.to_bytes(4, "little") + "cafж".encode()
    )
    assert entry_of(RawEntry(raw, b"1", flags=0, extra=extra)).path == "cafж"


def test_times_before_1980_and_impossible_ones_are_clamped() -> None:
    stamp = b"UT\x05\x00\x01"
    assert entry_of(RawEntry(b"x", extra=stamp + (0).to_bytes(4, "little"))).mtime == 0
    assert entry_of(RawEntry(b"x", extra=stamp + (-5).to_bytes(4, "little", signed=True))).mtime == 0
    assert (
        entry_of(RawEntry(b"x", extra=stamp + (1_600_000_000).to_bytes(4, "little"))).mtime == 1_600_000_000
    )
    first_of_1980 = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())
    assert entry_of(RawEntry(b"x", dos_date=0)).mtime == first_of_1980
    assert entry_of(RawEntry(b"x", dos_date=0xFFFF, dos_time=0xFFFF)).mtime == first_of_1980
    assert entry_of(RawEntry(b"x")).mtime == int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())


def test_extra_fields_that_make_no_sense_are_ignored() -> None:
    assert entry_of(RawEntry(b"x", b"1", extra=b"\x01")).path == "x"
    assert entry_of(RawEntry(b"x", b"1", extra=b"UT\xff\xff\x01")).path == "x"


def test_a_comment_at_the_end_passes() -> None:
    assert read(RawZip([RawEntry(b"x", b"1")], comment=b"made by hand").build()).entries[0].path == "x"


def test_what_the_standard_library_writes_as_zip64_is_read_alike() -> None:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("big", "w", force_zip64=True) as entry,
    ):
        entry.write(b"12345")
    assert content(read(file.getvalue()), "big") == b"12345"


def test_more_entries_than_a_plain_archive_can_count_pass() -> None:
    count = 66_000
    sample = RawZip([RawEntry(b"00000", b"", method=0)]).build()
    local, central = sample[:30], sample[35 : 35 + 46]
    names = [b"%05d" % number for number in range(count)]
    body = b"".join(local + name for name in names)
    directory = b"".join(
        central[:42] + (index * 35).to_bytes(4, "little") + name for index, name in enumerate(names)
    )
    end64 = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), len(body)
    ) + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(body) + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    bundle = read_bundle(io.BytesIO(body + directory + end64 + end), BundleLimits())
    assert [entry.path for entry in bundle.entries] == [name.decode() for name in names]


def test_sizes_over_4_gib_are_taken_from_the_zip64_field() -> None:
    wide = b"\x01\x00\x08\x00" + (5 << 30).to_bytes(8, "little")
    archive = RawZip([RawEntry(b"big", b"", size=0xFFFFFFFF, extra=wide)]).build()
    assert read_bundle(io.BytesIO(archive), BundleLimits()).entries[0].size_bytes == 5 << 30


def test_entries_with_sizes_behind_their_data_pass() -> None:
    class Unseekable(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object, /) -> int:
            assert isinstance(data, bytes | bytearray)
            self.data += data
            return len(data)

    sink = Unseekable()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"1" * 1000)
        archive.writestr("b", b"2")
    bundle = read(bytes(sink.data))
    assert content(bundle, "a") == b"1" * 1000


def test_names_are_shown_harmlessly() -> None:
    assert shown("plain é.py") == "'plain é.py'"
    assert shown("a\x1b[2J\u202e\n") == "'a\\x1b[2J\\u202e\\n'"
    assert shown("n" * 1000) == f"'{'n' * 120}…'"
