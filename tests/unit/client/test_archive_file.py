import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_client.archive_file import ArchiveFile


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=30))))
def test_it_is_one_file_wherever_it_lies(writes: list[tuple[int, bytes]]) -> None:
    expected = bytearray()
    with ArchiveFile(50) as file:
        for offset, data in writes:
            at = min(offset, len(expected))
            assert file.seek(at) == at
            file.write(data)
            expected[at : at + len(data)] = data
        assert file.seek(0, os.SEEK_END) == len(expected)
        file.seek(0)
        assert file.read() == bytes(expected)


def test_a_small_one_needs_no_disk_and_a_large_one_says_when_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with ArchiveFile(10) as file:
        file.write(b"0123456789")
        with pytest.raises(OSError, match="No such file"):
            file.write(b"!")


def test_a_large_one_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ArchiveFile(10) as file:
        file.write(b"0123456789!")
        assert list(tmp_path.iterdir()) == []
