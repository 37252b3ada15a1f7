from email.parser import Parser

import pytest
from packaging.requirements import Requirement

from ci_controller.project_metadata import static_metadata

FULL = b"""
[project]
name = "Foo.Bar"
version = "1.0-rc1"
requires-python = ">= 3.9"
dependencies = ["attrs>=1 ; python_version > '3'", "x @ https://example.com/x.whl ; os_name == 'nt'"]
[project.optional-dependencies]
Test_X = ["pytest", "foo-bar[docs]", "y @ https://example.com/y.whl", "z ; os_name == 'a' or os_name == 'b'"]
docs = ["sphinx"]
"""


def test_the_metadata_of_a_static_project() -> None:
    metadata = static_metadata(FULL)
    assert metadata is not None
    assert metadata.name == "foo-bar"
    assert metadata.wheel_name == "foo_bar-1.0rc1-py3-none-any.whl"
    message = Parser().parsestr(metadata.core_metadata())
    assert message["Name"] == "foo-bar"
    assert message["Version"] == "1.0rc1"
    assert message["Requires-Python"] == ">=3.9"
    assert message.get_all("Provides-Extra") == ["test-x", "docs"]
    requirements = [Requirement(text) for text in message.get_all("Requires-Dist", [])]

    def wanted(extra: str, os_name: str) -> list[str]:
        environment = {"extra": extra, "os_name": os_name, "python_version": "3.11"}
        return [r.name for r in requirements if r.marker is None or r.marker.evaluate(environment)]

    assert wanted("", "posix") == ["attrs"]
    assert wanted("", "nt") == ["attrs", "x"]
    assert wanted("test-x", "posix") == ["attrs", "pytest", "foo-bar", "y"]
    assert wanted("test-x", "b") == ["attrs", "pytest", "foo-bar", "y", "z"]
    assert wanted("docs", "a") == ["attrs", "sphinx"]


def test_references_to_itself_are_followed() -> None:
    metadata = static_metadata(FULL)
    assert metadata is not None
    assert metadata.with_own_extras(["test-x"]) == {"test-x", "docs"}
    assert metadata.with_own_extras([]) == frozenset()


def test_a_dynamic_version_is_no_hindrance() -> None:
    metadata = static_metadata(b'[project]\nname = "a"\ndynamic = ["version"]\n')
    assert metadata is not None
    assert metadata.version is None
    assert metadata.wheel_name == "a-0-py3-none-any.whl"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[build-system]",
        "[tool.poetry]\nname = 'a'",
        "not toml",
        "project = 3",
        "[project]\nversion = '1'",
        "[project]\nname = 'a'",
        "[project]\nname = '-a'\nversion = '1'",
        "[project]\nname = 'a'\nversion = 'one'",
        "[project]\nname = 'a'\nversion = 1",
        "[project]\nname = 'a'\nversion = '1'\ndynamic = ['dependencies']",
        "[project]\nname = 'a'\nversion = '1'\ndynamic = ['optional-dependencies']",
        "[project]\nname = 'a'\nversion = '1'\ndynamic = 'version'",
        "[project]\nname = 'a'\nversion = '1'\ndependencies = 'attrs'",
        "[project]\nname = 'a'\nversion = '1'\ndependencies = ['!']",
        "[project]\nname = 'a'\nversion = '1'\ndependencies = [1]",
        "[project]\nname = 'a'\nversion = '1'\ndependencies = ['b @ file:///workspace/b']",
        "[project]\nname = 'a'\nversion = '1'\nrequires-python = 'three'",
        "[project]\nname = 'a'\nversion = '1'\noptional-dependencies = ['x']",
        "[project]\nname = 'a'\nversion = '1'\n[project.optional-dependencies]\n'!' = []",
        "a = " + "[" * 20_000,
    ],
)
def test_what_is_not_certain_is_left_to_the_build_backend(text: str) -> None:
    assert static_metadata(text.encode()) is None


def test_bytes_that_are_no_text_are_left_to_the_build_backend() -> None:
    assert static_metadata(b"\xff") is None
