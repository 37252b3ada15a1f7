import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ci_client.problems import BadUse
from ci_client.selection import Entry, select
from ci_common.bundle import EntryKind
from tests.unit.client.trees import chosen, make_tree


def test_empty_folders_go_and_the_order_is_fixed(tmp_path: Path) -> None:
    make_tree(tmp_path, ["b/c/", "a/x", "a/__pycache__/y", "z", "only/__pycache__/y", "b.py"])
    assert [entry.path for entry in select(tmp_path).entries] == ["b.py", "z", "a/x", "b/c", "only"]
    assert chosen(tmp_path) == ["a/x", "b.py", "b/c/", "only/", "z"]


def link(root: Path, name: str, target: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(target)


def test_links_that_stay_inside_are_kept(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/file", "real/x"])
    link(tmp_path, "to_file", "a/file")
    link(tmp_path, "to_folder", "real")
    link(tmp_path, "a/up", "../real/x")
    link(tmp_path, "chain", "to_folder/x")
    link(tmp_path, "here", ".")
    selection = select(tmp_path)
    targets = {entry.path: entry.target for entry in selection.entries if entry.kind is EntryKind.SYMLINK}
    assert targets == {
        "to_file": "a/file",
        "to_folder": "real",
        "a/up": "../real/x",
        "chain": "to_folder/x",
        "here": ".",
    }
    assert selection.remarks == []


def test_absolute_links_to_the_inside_become_relative(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/file"])
    link(tmp_path, "b/abs", str(tmp_path / "a" / "file"))
    link(tmp_path, "root", str(tmp_path))
    entries = select(tmp_path).entries
    assert Entry("b/abs", EntryKind.SYMLINK, "../a/file") in entries
    assert Entry("root", EntryKind.SYMLINK, ".") in entries


@pytest.mark.parametrize(
    ("name", "target"),
    [("x", "/etc/passwd"), ("x", "../outside"), ("a/b", "../../outside"), ("x", "a/../../y")],
)
def test_links_that_lead_outside_are_refused_by_name(tmp_path: Path, name: str, target: str) -> None:
    make_tree(tmp_path, ["a/file"])
    link(tmp_path, name, target)
    with pytest.raises(BadUse, match=rf"^'{name}' is a (sym)?link .*\.ciignore"):
        select(tmp_path)


def test_a_link_through_another_that_leads_outside_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/b/c"])
    link(tmp_path, "deep", "a/b")
    link(tmp_path, "x", "deep/../../..")
    with pytest.raises(BadUse, match=r"^'x' is a symlink that leads out of the project"):
        select(tmp_path)


def test_a_link_that_stays_behind_may_lead_anywhere(tmp_path: Path) -> None:
    make_tree(tmp_path, {".ciignore": "data\n", "a": ""})
    link(tmp_path, "data", "/mnt")
    link(tmp_path, ".venv", "/usr")
    assert chosen(tmp_path) == ["a"]


def test_links_that_will_not_work_are_kept_and_told(tmp_path: Path) -> None:
    make_tree(tmp_path, [".hidden"])
    link(tmp_path, "dangling", "nowhere")
    link(tmp_path, "left", ".hidden")
    link(tmp_path, "loop1", "loop2")
    link(tmp_path, "loop2", "loop1")
    selection = select(tmp_path)
    assert len(selection.entries) == 4
    assert selection.remarks == [
        "the link 'dangling' leads to nothing; it is sent as it is",
        "the link 'left' leads to something that stays behind; it will lead to nothing",
        "the link 'loop1' leads in a circle; it is sent as it is",
        "the link 'loop2' leads in a circle; it is sent as it is",
    ]


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a"])
    os.mkfifo(tmp_path / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(tmp_path)  # the path of a socket is short
    try:
        listening.bind("sock")
    finally:
        os.chdir(here)
    with pytest.raises(BadUse) as caught:
        select(tmp_path)
    listening.close()
    assert "'pipe' is a named pipe, which can't be sent" in str(caught.value)
    assert "'sock' is a socket" in str(caught.value)


def test_names_that_cannot_be_sent_are_refused(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/bad\xff.py", os.O_CREAT))
    (tmp_path / "back\\slash").write_text("")
    (tmp_path / "tab\t").write_text("")
    with pytest.raises(BadUse) as caught:
        select(tmp_path)
    assert "'bad\\udcff.py' has a name or target that isn't UTF-8" in str(caught.value)
    assert "has a backslash in its name" in str(caught.value)
    assert "'tab\\t' has a control character in its name" in str(caught.value)


def test_only_the_first_faults_are_named(tmp_path: Path) -> None:
    for number in range(9):
        os.mkfifo(tmp_path / f"pipe{number}")
    with pytest.raises(BadUse, match=r"'pipe4' .* \| and 4 more$"):
        select(tmp_path)


def test_deep_folders(tmp_path: Path) -> None:
    deep = "/".join(["d"] * 100)
    here = os.open(tmp_path, os.O_DIRECTORY)
    for _ in range(100):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    assert chosen(tmp_path) == [deep + "/"]


def test_a_folder_that_disappears_is_told(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a/x", "b/y"])
    seen = 0

    def pause() -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            (tmp_path / "a" / "x").unlink()
            (tmp_path / "a").rmdir()

    selection = select(tmp_path, pause)
    assert [entry.path for entry in selection.entries] == ["b/y"]
    assert selection.remarks == ["'a' disappeared while it was read; it is not sent"]


def test_unreadable_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path, ["a/x"])
    real = os.scandir

    def refuse(path: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
        if path.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything: the system can't refuse it
    with pytest.raises(BadUse, match="the folder 'a' can't be read: Permission denied"):
        select(tmp_path)
