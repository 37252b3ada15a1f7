import tarfile
from pathlib import Path

import pytest

from ci_common.ids import InstanceId
from ci_controller import outfit
from ci_controller.image_build import AddedFile, tar_of
from ci_controller.images import split_name
from ci_controller.job_image import fingerprint, runner_files

ONE = InstanceId("11111111-2222-3333-4444-555555555555")
TWO = InstanceId("99999999-2222-3333-4444-555555555555")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("python", ("python", "latest")),
        ("python:3.12-slim", ("python", "3.12-slim")),
        ("registry.example:5000/team/python", ("registry.example:5000/team/python", "latest")),
        ("registry.example:5000/team/python:1", ("registry.example:5000/team/python", "1")),
        ("python@sha256:abc", ("python", "sha256:abc")),
    ],
)
def test_names_are_split_as_the_engine_wants_them(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


def test_the_runner_and_its_parts_go_into_the_image_but_not_the_controllers_half() -> None:
    paths = [file.path for file in runner_files()]
    assert "/opt/ci/runner.py" in paths
    assert "/opt/ci/runner_spec.py" not in paths
    assert all(path.startswith("/opt/ci/runner") for path in paths)


def test_the_fingerprint_tells_apart_whatever_makes_another_image(tmp_path: Path) -> None:
    source = tmp_path / "runner.py"
    source.write_text("one")
    files = [AddedFile("/opt/ci/runner.py", source, 0o644)]
    first = fingerprint(ONE, "sha256:base", files)
    assert fingerprint(ONE, "sha256:base", files) == first
    assert len(first) == 16
    others = {fingerprint(TWO, "sha256:base", files), fingerprint(ONE, "sha256:other", files)}
    source.write_text("two")
    others.add(fingerprint(ONE, "sha256:base", files))
    assert len(others) == 3
    assert first not in others


def test_an_archive_of_added_files_is_roots_and_keeps_modes(tmp_path: Path) -> None:
    source = tmp_path / "tool"
    source.write_bytes(b"#!/bin/sh\n")
    with (
        tar_of([AddedFile("/usr/local/bin/tool", source, 0o755)]) as archive,
        tarfile.open(fileobj=archive) as tar,
    ):
        [entry] = tar.getmembers()
        content = tar.extractfile(entry)
        assert content is not None
        assert (entry.name, entry.mode, entry.uid, entry.gid) == ("usr/local/bin/tool", 0o755, 0, 0)
        assert content.read() == b"#!/bin/sh\n"


def test_users_that_exist_are_left_alone() -> None:
    passwd = "root:x:0:0:root:/root:/bin/sh\nci:x:500:500::/:/bin/sh\nother:x:20003:1::/:/bin/sh\nbroken\n"
    missing = outfit.missing_users(passwd)
    assert ("ci", 10_000) not in missing
    assert ("ci3", 20_003) not in missing
    assert ("ci4", 20_004) in missing
    assert len(missing) == outfit.SLOTS - 1


def test_lines_are_added_behind_a_file_that_lacks_its_last_newline(tmp_path: Path) -> None:
    file = tmp_path / "group"
    outfit.append(file, ["a"])
    assert file.read_text() == "a\n"
    file.write_text("x")
    outfit.append(file, ["b", "c"])
    assert file.read_text() == "x\nb\nc\n"
