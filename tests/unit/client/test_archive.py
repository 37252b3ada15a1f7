import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_client.archive import ArchiveWriter
from ci_client.bundling import pack
from ci_client.problems import BadUse
from ci_client.selection import Entry
from ci_common.bundle import Bundle, BundleLimits, EntryKind, read_bundle
from tests.unit.client.trees import make_tree


def nothing() -> None:
    """No pause."""


def quiet(_number: int, _count: int, _read_bytes: int) -> None:
    """No progress."""


def packed(root: Path) -> Bundle:
    """As the server reads it, verified."""
    with pack(root, nothing, quiet).file as file:
        copy = io.BytesIO(file.read() if file.seek(0) == 0 else b"")
    bundle = read_bundle(copy, BundleLimits())
    bundle.verify()
    return bundle


def one_file(root: Path, name: str, pause: Callable[[], None] = nothing) -> tuple[ArchiveWriter, io.BytesIO]:
    file = io.BytesIO()
    writer = ArchiveWriter(root, file, None)
    writer.add(Entry(name, EntryKind.FILE), pause)
    writer.close()
    return writer, file


def content(bundle: Bundle, path: str) -> bytes:
    entry = next(entry for entry in bundle.entries if entry.path == path)
    return b"".join(bundle.chunks(entry))


def test_everything_arrives_as_it_is(tmp_path: Path) -> None:
    files = {"requirements.txt": "pytest", "empty/": "", "ünï/cödé \U0001f600.py": "x", "run.sh": "#!"}
    make_tree(tmp_path, files)
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "blob.bin").write_bytes(os.urandom(3_000_000))
    (tmp_path / "link").symlink_to("ünï/cödé \U0001f600.py")
    bundle = packed(tmp_path)
    found = {entry.path: (entry.kind, entry.executable, entry.target) for entry in bundle.entries}
    assert found == {
        "requirements.txt": (EntryKind.FILE, False, None),
        "empty": (EntryKind.DIRECTORY, False, None),
        "ünï/cödé \U0001f600.py": (EntryKind.FILE, False, None),
        "run.sh": (EntryKind.FILE, True, None),
        "blob.bin": (EntryKind.FILE, False, None),
        "link": (EntryKind.SYMLINK, False, "ünï/cödé \U0001f600.py"),
    }
    assert content(bundle, "blob.bin") == (tmp_path / "blob.bin").read_bytes()


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [(0, 0), (1, 1), (-1, 0), (-(1 << 40), 315532800), (1_700_000_001, 1_700_000_001), (1 << 33, 4354819198)],
)
def test_any_date(tmp_path: Path, mtime: int, expected: int) -> None:
    make_tree(tmp_path, {"requirements.txt": "pytest"})
    os.utime(tmp_path / "requirements.txt", (mtime, mtime))
    kept = int((tmp_path / "requirements.txt").stat().st_mtime)
    found = packed(tmp_path).entries[0].mtime
    assert found == expected or kept != mtime  # not every file system has all of them


def test_the_same_project_gives_the_same_bytes(tmp_path: Path) -> None:
    make_tree(tmp_path, {"requirements.txt": "pytest", "b": "1" * 1000, "a/c": "2", "d/": ""})
    with pack(tmp_path, nothing, quiet).file as first, pack(tmp_path, nothing, quiet).file as second:
        assert first.seek(0) == second.seek(0)
        assert first.read() == second.read()


def test_what_is_compressed_already_is_stored(tmp_path: Path) -> None:
    make_tree(tmp_path, {"a.PNG": "x" * 1000, "b.py": "x" * 1000, "c.py": "x"})
    methods: dict[str, int] = {}
    for name in ("a.PNG", "b.py", "c.py"):
        _, file = one_file(tmp_path, name)
        methods[name] = zipfile.ZipFile(file).infolist()[0].compress_type
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    assert methods == {"a.PNG": stored, "b.py": deflated, "c.py": stored}


def at_second_pause(act: Callable[[], None]) -> Callable[[], None]:
    count = 0

    def pause() -> None:
        nonlocal count
        count += 1
        if count == 2:
            act()

    return pause


@pytest.mark.parametrize("change", ["grows", "shrinks", "disappears", "is replaced"])
def test_a_file_that_changes_while_it_is_read_makes_a_consistent_entry(tmp_path: Path, change: str) -> None:
    path = tmp_path / "log.zip"
    path.write_bytes(b"a" * (3 << 20))

    def act() -> None:
        if change == "grows":
            with path.open("ab") as file:
                file.write(b"b" * 100)
        elif change == "shrinks":
            os.truncate(path, (1 << 20) + 5)
        elif change == "disappears":
            path.unlink()
        else:
            other = tmp_path / "other"
            other.write_bytes(b"c")
            other.replace(path)

    writer, file = one_file(tmp_path, "log.zip", at_second_pause(act))
    found = zipfile.ZipFile(file).read("log.zip")
    assert found == b"a" * ((1 << 20) + 5 if change == "shrinks" else 3 << 20)
    read_bundle(file, BundleLimits()).verify()
    told = ["'log.zip' changed while it was read; it is sent as it was found"]
    assert writer.remarks == (told if change in {"grows", "shrinks"} else [])


def test_a_file_that_has_gone_is_told(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = ArchiveWriter(tmp_path, file, None)
    writer.add(Entry("gone", EntryKind.FILE), nothing)
    writer.close()
    assert writer.remarks == ["'gone' disappeared while it was read; it is not sent"]
    assert zipfile.ZipFile(file).namelist() == []


def test_a_link_or_pipe_in_a_files_place_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "b")
    for name in ("a", "b"):
        with pytest.raises(BadUse, match=f"'{name}' "):
            one_file(tmp_path, name)


def test_exec_bits_may_come_from_elsewhere(tmp_path: Path) -> None:
    make_tree(tmp_path, ["run.sh", "a.py"])
    (tmp_path / "a.py").chmod(0o755)
    file = io.BytesIO()
    writer = ArchiveWriter(tmp_path, file, frozenset({"run.sh"}))
    for name in ("run.sh", "a.py"):
        writer.add(Entry(name, EntryKind.FILE), nothing)
    writer.close()
    assert [entry.executable for entry in read_bundle(file, BundleLimits()).entries] == [True, False]


def test_more_than_four_gib_in_one_file_is_announced_as_such(tmp_path: Path) -> None:
    """The header's form is decided before the data come; the data themselves take too long here."""
    path = tmp_path / "huge.zip"
    with path.open("wb") as sparse:
        sparse.truncate(5 << 30)
    _, file = one_file(tmp_path, "huge.zip", at_second_pause(lambda: os.truncate(path, 1 << 20)))
    local_header_extra_bytes = int.from_bytes(file.getvalue()[28:30], "little")
    assert local_header_extra_bytes >= 20
    bundle = read_bundle(file, BundleLimits())
    bundle.verify()
    assert bundle.entries[0].size_bytes <= 2 << 20


def test_an_interrupted_packing_leaves_nothing(tmp_path: Path) -> None:
    make_tree(tmp_path, {"requirements.txt": "pytest", "a": "x"})

    class Interrupted(Exception):
        pass

    count = 0

    def pause() -> None:
        nonlocal count
        count += 1
        if count == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        pack(tmp_path, pause, quiet)


def test_without_requirements_nothing_is_packed(tmp_path: Path) -> None:
    make_tree(tmp_path, {"requirements.txt": "pytest", ".ciignore": "*.txt"})
    with pytest.raises(BadUse, match=r"stays behind because of \.ciignore:1 \*\.txt"):
        pack(tmp_path, nothing, quiet)
