import io
import struct
import tracemalloc
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.bundle import BundleLimits, read_bundle
from ci_common.errors import BundleRejected
from tests.unit.common.raw_zip import RawEntry, RawZip

LINK = 0o120777


def refusal(archive: bytes, limits: BundleLimits | None = None) -> str:
    """The message with which the archive is refused, by its directory or by its data."""
    with pytest.raises(BundleRejected) as caught:
        read_bundle(io.BytesIO(archive), limits or BundleLimits()).verify()
    message = str(caught.value)
    assert message.isprintable(), "no terminal may obey a message"
    assert len(message) < 1000
    return message


def archive_of(*entries: RawEntry) -> bytes:
    return RawZip(list(entries)).build()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (b"../x", "climbs out"),
        (b"a/../../x", "climbs out"),
        (b"a/..", "climbs out"),
        (b"..", "climbs out"),
        (b"/etc/passwd", "absolute path"),
        (b"//host/share", "absolute path"),
        (b"C:/windows/x", "drive letter"),
        (b"c:x", "drive letter"),
        (b"..\\x", "backslash"),
        (b"a\\b", "backslash"),
        (b"\\\\host\\share", "backslash"),
        (b"./x", "empty or '.' part"),
        (b"a//b", "empty or '.' part"),
        (b"", "empty or '.' part"),
        (b".", "empty or '.' part"),
        (b"a\x00b", "control character"),
        (b"a\nb", "control character"),
        (b"\x1b]0;owned\x07", "control character"),
        (b"\xc2\x9b31m", "control character"),
        (b"\xff\xfe", "not UTF-8"),
        (b"n" * 256, "part longer than 255"),
        (b"n/" * 2500 + b"n", "name longer than 4000"),
        (b"n" * 65535, "name longer than 4000"),
    ],
)
def test_bad_names_are_refused(name: bytes, fault: str) -> None:
    assert fault in refusal(archive_of(RawEntry(name, b"x")))


def test_the_message_names_the_entry_with_its_control_characters_escaped() -> None:
    message = refusal(archive_of(RawEntry(b"good"), RawEntry(b"bad\x1b[2Jname")))
    assert "'bad\\x1b[2Jname'" in message


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ([("link", "/etc/passwd")], "only relative targets"),
        ([("link", "..")], "leads out"),
        ([("a/link", "../../x")], "leads out"),
        ([("a/b/link", "../../../x")], "leads out"),
        ([("link", "C:/x")], "only relative targets"),
        ([("link", "..\\x")], "only relative targets"),
        ([("x/up", ".."), ("link", "x/up/..")], "leads out"),
        ([("x/up", ".."), ("x/second", "up/.."), ("link", "x/second/.")], "leads out"),
        ([("link", "a\0b")], "holds a NUL"),
        ([("link", "")], "empty or overlong"),
        ([("link", "n" * 4096)], "empty or overlong"),
    ],
)
def test_links_that_lead_out_are_refused(entries: list[tuple[str, str]], fault: str) -> None:
    raw = [RawEntry(name.encode(), target.encode(), mode=LINK) for name, target in entries]
    assert fault in refusal(archive_of(*raw))


def test_a_chain_of_more_links_than_linux_follows_is_refused() -> None:
    links = [RawEntry(f"l{n}".encode(), f"l{n + 1}".encode(), mode=LINK) for n in range(60)]
    assert "more than 40" in refusal(archive_of(*links))


def test_an_entry_beneath_a_link_is_refused() -> None:
    message = refusal(archive_of(RawEntry(b"d", b"e", mode=LINK), RawEntry(b"d/x", b"1")))
    assert "'d/x' lies beneath 'd'" in message


def test_an_entry_beneath_a_link_is_refused_also_when_it_comes_first() -> None:
    entries = [RawEntry(b"d/x/y", b"1"), RawEntry(b"d!", b"2"), RawEntry(b"d", b"e", mode=LINK)]
    assert "lies beneath 'd'" in refusal(archive_of(*entries))


def test_an_entry_beneath_a_file_is_refused() -> None:
    assert "lies beneath 'd'" in refusal(archive_of(RawEntry(b"d", b"e"), RawEntry(b"d/x", b"1")))


@pytest.mark.parametrize(("first", "second"), [(b"a", b"a"), (b"a/", b"a/"), (b"a", b"a/")])
def test_duplicate_names_are_refused(first: bytes, second: bytes) -> None:
    modes = [0o040755 if name.endswith(b"/") else 0o100644 for name in (first, second)]
    entries = [RawEntry(first, mode=modes[0]), RawEntry(second, mode=modes[1])]
    assert "'a' occurs twice" in refusal(archive_of(*entries))


@pytest.mark.parametrize("kind", [0o010644, 0o020644, 0o060644, 0o140644])
def test_devices_pipes_and_sockets_are_refused(kind: int) -> None:
    assert "device, socket or pipe" in refusal(archive_of(RawEntry(b"dev", mode=kind)))


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_encrypted_entries_are_refused(flag: int) -> None:
    assert "is encrypted" in refusal(archive_of(RawEntry(b"x", b"1", flags=0x800 | flag)))


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93, 99])
def test_unknown_methods_are_refused(method: int) -> None:
    assert f"compression method {method}" in refusal(archive_of(RawEntry(b"x", b"1", method=method)))


def test_a_patch_is_refused() -> None:
    assert "is a patch" in refusal(archive_of(RawEntry(b"x", b"1", flags=0x20)))


def test_contradictory_kinds_are_refused() -> None:
    assert "named as a directory" in refusal(archive_of(RawEntry(b"x/", b"1")))
    assert "directory, but holds data" in refusal(archive_of(RawEntry(b"x/", b"1", mode=0o040755)))


def test_data_that_unpack_to_nothing_are_refused_in_a_directory() -> None:
    nothing = b"\0\0\0\xff\xff" * 1000 + b"\x03\0"
    assert "directory, but holds data" in refusal(archive_of(RawEntry(b"x/", mode=0o040755, packed=nothing)))
    usual = archive_of(RawEntry(b"x/", mode=0o040755, packed=b"\x03\0"), RawEntry(b"y", b"1"))
    read_bundle(io.BytesIO(usual), BundleLimits()).verify()


@pytest.mark.parametrize("archive", [b"", b"PK", b"hello world", b"\0" * 100_000, b"PK\x03\x04" + b"x" * 100])
def test_what_is_no_zip_is_refused(archive: bytes) -> None:
    assert "not a zip archive" in refusal(archive)


def test_an_empty_archive_is_refused() -> None:
    assert "is empty" in refusal(archive_of())


def test_every_truncation_is_refused() -> None:
    archive = archive_of(RawEntry(b"a", b"1" * 100), RawEntry(b"b", b"2"))
    for length in range(len(archive)):
        refusal(archive[:length])


def test_trailing_garbage_is_refused() -> None:
    assert "followed by other bytes" in refusal(archive_of(RawEntry(b"a", b"1")) + b"garbage")


def test_bytes_before_the_archive_are_refused() -> None:
    assert "bytes outside" in refusal(b"#!/bin/sh\n" + archive_of(RawEntry(b"a", b"1")))


def test_bytes_between_directory_and_end_are_refused() -> None:
    assert "bytes outside" in refusal(RawZip([RawEntry(b"a", b"1")], between=b"hidden").build())


def test_several_volumes_are_refused() -> None:
    assert "several volumes" in refusal(RawZip([RawEntry(b"a", b"1")], disk=1).build())


def test_a_count_over_the_limit_is_refused_before_the_directory_is_read() -> None:
    archive = RawZip([RawEntry(b"a", b"1")], count=60_000).build()
    message = refusal(archive, BundleLimits(max_entries=50_000))
    assert "60000 entries, more than the 50000" in message


def test_a_count_that_lies_is_refused() -> None:
    entries = [RawEntry(b"a", b"1"), RawEntry(b"b", b"2")]
    for count in (1, 3):
        assert "directory is damaged" in refusal(RawZip(entries, count=count).build())


def test_a_million_entries_are_refused_at_once_and_in_little_memory() -> None:
    record = archive_of(RawEntry(b"a", b""))[33 - 2 :]
    central = record[: record.index(b"PK\x05\x06")]
    count = 1_000_000
    directory = central * count
    end64 = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), 0
    ) + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    file = io.BytesIO(directory + end64 + end)
    tracemalloc.start()
    try:
        with pytest.raises(BundleRejected, match="1000000 entries"):
            read_bundle(file, BundleLimits())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1 << 20


def test_a_directory_over_the_limit_is_refused() -> None:
    entries = [RawEntry(b"n" * 200 + str(n).encode(), b"") for n in range(100)]
    assert "directory takes" in refusal(archive_of(*entries), BundleLimits(max_directory_bytes=10_000))


def test_an_announced_size_over_the_limit_is_refused_before_any_data_are_read() -> None:
    entries = [RawEntry(f"{n}".encode(), b"", size=1000) for n in range(11)]
    with pytest.raises(BundleRejected, match="more than the 10000 bytes"):
        read_bundle(io.BytesIO(archive_of(*entries)), BundleLimits(max_unpacked_bytes=10_000))


def test_sizes_that_lie_are_refused_by_real_bytes() -> None:
    zeros = bytes(10 << 20)
    assert "more data than it announces" in refusal(archive_of(RawEntry(b"x", zeros, size=1000)))
    assert "less data than it announces" in refusal(archive_of(RawEntry(b"x", b"1", size=1000)))
    assert "two different sizes" in refusal(archive_of(RawEntry(b"x", b"123", method=0, size=2)))


def test_a_lying_size_costs_no_more_than_one_piece_of_real_bytes() -> None:
    archive = archive_of(RawEntry(b"x", bytes(64 << 20), size=1000))
    bundle = read_bundle(io.BytesIO(archive), BundleLimits())
    tracemalloc.start()
    try:
        with pytest.raises(BundleRejected):
            bundle.verify()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 << 20


def test_wrong_checksums_and_damaged_data_are_refused() -> None:
    assert "checksum" in refusal(archive_of(RawEntry(b"x", b"1", crc=7)))
    assert "can't be decompressed" in refusal(archive_of(RawEntry(b"x", b"123", packed=b"\xff\xff\xff")))
    assert "end early" in refusal(archive_of(RawEntry(b"x", b"", packed=b"")))
    padded = RawEntry(b"x", b"", packed=b"\x03\x00" + b"hidden")
    assert "belong to no entry" in refusal(archive_of(padded))


def test_overlapping_entries_are_refused() -> None:
    same = archive_of(RawEntry(b"a", b"1" * 50), RawEntry(b"b", b"1" * 50, offset=0))
    assert "overlaps another entry" in refusal(same)
    inner = archive_of(RawEntry(b"a", b"1" * 50, method=0), RawEntry(b"b", b"", offset=40))
    assert "overlaps another entry" in refusal(inner)


def test_an_entry_that_hides_the_next_ones_header_in_its_own_is_refused() -> None:
    # By the directory alone these two don't overlap; the first one's header is longer than it lets on.
    first = RawEntry(b"a", b"1" * 50, method=0, local_extra=b"\x99\x99\x00\x00")
    archive = bytearray(archive_of(first, RawEntry(b"b", b"2")))
    struct.pack_into("<H", archive, 28, 200)
    assert "overlaps another entry" in refusal(bytes(archive))


def test_an_entry_that_reaches_into_the_directory_is_refused() -> None:
    assert "overlaps the archive's directory" in refusal(
        archive_of(RawEntry(b"a", b"1", method=0, compressed=5000, size=5000))
    )


def test_an_offset_without_a_header_is_refused() -> None:
    archive = bytearray(archive_of(RawEntry(b"a", b"1" * 50, method=0)))
    archive[0:4] = b"XXXX"
    assert "header is missing" in refusal(bytes(archive))


def test_zip64_fields_that_are_missing_or_wrong_are_refused() -> None:
    assert "lacks its zip64 sizes" in refusal(archive_of(RawEntry(b"a", b"1", size=0xFFFFFFFF)))
    archive = RawZip([RawEntry(b"a", b"1")], count=0xFFFF).build()
    assert "directory is damaged" in refusal(archive)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 1 << 60, 1)
    padding = b"x" * 60
    assert "directory is damaged" in refusal(RawZip([RawEntry(b"a")], between=padding + locator).build())


def test_links_that_are_too_many_are_refused() -> None:
    links = [RawEntry(f"l{n}".encode(), b"n" * 100, mode=LINK) for n in range(20)]
    message = refusal(archive_of(*links), BundleLimits(max_target_bytes=1000))
    assert "too many or too long" in message


def test_links_made_to_be_costly_are_judged() -> None:
    links = [RawEntry(f"l{n}".encode(), b"d/../" * 200 + f"l{n + 1}".encode(), mode=LINK) for n in range(300)]
    assert "more than 40" in refusal(archive_of(*links))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    with pytest.raises(BundleRejected):
        read_bundle(io.BytesIO(data), BundleLimits()).verify()


def _sound() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("requirements.txt", "pytest\n")
        archive.writestr("tests/test_a.py", "def test(): pass\n" * 5)
        archive.writestr("empty/", "")
    return file.getvalue()


SOUND = _sound()


@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_no_damage_to_a_sound_archive_raises_anything_but_a_refusal(changes: list[tuple[int, int]]) -> None:
    archive = bytearray(SOUND)
    for offset, value in changes:
        archive[offset] = value
    try:
        bundle = read_bundle(io.BytesIO(bytes(archive)), BundleLimits())
        bundle.verify()
    except BundleRejected:
        return
    for entry in bundle.entries:
        assert not entry.path.startswith("/")
        assert ".." not in entry.path.split("/")
