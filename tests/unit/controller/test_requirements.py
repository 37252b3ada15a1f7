import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_common.errors import InvalidInput
from ci_controller.package_sources import PackageSources
from ci_controller.requirements import LocalProject, Requirements, read_requirements
from tests.unit.controller.project_files import bundle_of

SETUP = "from setuptools import setup\nsetup(name='foo', version='1')\n"
PYPROJECT = '[project]\nname = "foo"\nversion = "1"\ndependencies = ["attrs"]\n'


def read(text: str | bytes, files: dict[str, str | bytes] | None = None, **links: str) -> Requirements:
    bundle = bundle_of({"requirements.txt": text, **(files or {})}, links)
    return read_requirements(bundle, PackageSources())


def fault(text: str | bytes, files: dict[str, str | bytes] | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(text, files)
    return str(caught.value)


def test_no_requirements_file_is_said() -> None:
    with pytest.raises(InvalidInput, match=r"^'requirements.txt' is not among the files that were sent$"):
        read_requirements(bundle_of({"a.py": ""}), PackageSources())


@pytest.mark.parametrize(
    ("text", "packages"),
    [
        ("pytest\n", ("pytest",)),
        ("pytest", ("pytest",)),
        ("\n\n  pytest  # why\n#x\n", ("pytest",)),
        ("pytest\r\nattrs\r\n", ("pytest", "attrs")),
        ("attrs>=1, \\\n  <99\n", ("attrs>=1,   <99",)),
        ("attrs \\\n# a comment ends it\npytest\n", ("attrs", "pytest")),
        ("attrs \\", ("attrs",)),
        ("foo#bar\n", None),
        ('attrs; python_version > "3" # no\n', ('attrs; python_version > "3"',)),
        ("pkg @ https://example.com/a#b.whl\n", ("pkg @ https://example.com/a#b.whl",)),
        ("git+https://example.com/x.git@v1#egg=x\n", ("git+https://example.com/x.git@v1#egg=x",)),
        ("-e git+https://example.com/x.git#egg=x\n", ("git+https://example.com/x.git#egg=x",)),
        ("-e x@git+https://example.com/x.git\n", ("x@git+https://example.com/x.git",)),
        ("x@https://example.com/x-1.whl\n", ("x@https://example.com/x-1.whl",)),
        ("https://example.com/x-1.tar.gz\n", ("https://example.com/x-1.tar.gz",)),
        ("-r https://example.com/r.txt\n", ("-r https://example.com/r.txt",)),
        ("-c https://example.com/c.txt\n", ("-c https://example.com/c.txt",)),
        ("pytest[testing]>=7\n", ("pytest[testing]>=7",)),
        ("a==1 --hash=sha256:aa \\\n  --hash=sha256:bb\n", ("a==1 --hash=sha256:aa --hash=sha256:bb",)),
        ('a==1 --global-option="--x"\n', ("a==1",)),
        ("Ünicode\n", None),
        ("a b\n", None),
        ("--bogus\n", None),
        ("-r\n", None),
        ("'unbalanced --hash='\n", None),
    ],
)
def test_lines_are_taken_as_pip_takes_them(text: str, packages: tuple[str, ...] | None) -> None:
    if packages is None:
        assert fault(text).startswith("requirements.txt, line 1: ")
    else:
        assert read(text).packages == packages


@pytest.mark.parametrize(
    "data",
    [
        "pytest  # ü".encode(),
        codecs.BOM_UTF8 + b"pytest",
        codecs.BOM_UTF16_LE + "pytest".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "pytest".encode("utf-16-be"),
        codecs.BOM_UTF32_LE + "pytest".encode("utf-32-le"),
        "# -*- coding: latin-1 -*-\npytest  # ü".encode("latin-1"),
    ],
)
def test_encodings(data: bytes) -> None:
    assert read(data).packages == ("pytest",)


@pytest.mark.parametrize("data", [b"pytest  # \xff", b"# coding: no-such-thing\npytest"])
def test_other_encodings_are_refused(data: bytes) -> None:
    assert "save it as UTF-8" in fault(data)


def test_nested_files_are_found_beside_the_file_that_names_them() -> None:
    found = read(
        "-r requirements/dev.txt\nattrs\n",
        {
            "requirements/dev.txt": "-r base.txt\n--requirement=../more.txt\n-c limits.txt\npytest\n",
            "requirements/base.txt": "iniconfig\n",
            "requirements/limits.txt": "attrs<99\n",
            "more.txt": "pluggy\n",
        },
    )
    assert found.packages == ("iniconfig", "pluggy", "pytest", "attrs")
    assert found.constraints == ("attrs<99",)
    assert found.bundle_paths == frozenset()


def test_a_nested_file_may_be_a_link_or_lie_behind_one() -> None:
    found = read("-r reqs/a.txt\n", {"real/a.txt": "-r b.txt\n", "real/b.txt": "pytest\n"}, reqs="real")
    assert found.packages == ("pytest",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-r ../x.txt\n", "requirements.txt, line 1: '../x.txt' lies outside of the project"),
        ("pytest\n-r /etc/passwd\n", "requirements.txt, line 2: '/etc/passwd' lies outside of the project"),
        ("-c file:///etc/passwd\n", "requirements.txt, line 1: '/etc/passwd' lies outside of the project"),
        ("../foo\n", "requirements.txt, line 1: '../foo' lies outside of the project"),
        ("-e ..\n", "requirements.txt, line 1: '..' lies outside of the project"),
        ("file:///opt/x.whl\n", "requirements.txt, line 1: '/opt/x.whl' lies outside of the project"),
        ("x @ file:///opt/x.whl\n", "requirements.txt, line 1: '/opt/x.whl' lies outside of the project"),
        ("--find-links /opt/wheels\n", "requirements.txt, line 1: '/opt/wheels' lies outside of the project"),
        ("-r no.txt\n", "requirements.txt, line 1: 'no.txt' is not among the files that were sent"),
        (
            "./no-1.tar.gz\n",
            "requirements.txt, line 1: './no-1.tar.gz' is not among the files that were sent",
        ),
        ("./no\n", "requirements.txt, line 1: './no' is not among the files that were sent"),
        ("-r src\n", "requirements.txt, line 1: 'src' is a folder, not a file"),
        ("-e src/a.py\n", "requirements.txt, line 1: 'src/a.py' is no folder, so it can't be editable"),
        ("-e https://example.com/x.whl\n", "requirements.txt, line 1: 'https://example.com/x.whl' can't be"),
        ("-e .\n", "requirements.txt, line 1: '.' can't be installed: it has neither a pyproject.toml nor"),
        ("-r requirements.txt\n", "requirements.txt, line 1: 'requirements.txt' names itself"),
        ("-c loop.txt\n", "loop.txt, line 1: 'requirements.txt' names itself"),
    ],
)
def test_what_can_not_be_is_refused_by_name(text: str, message: str) -> None:
    assert fault(text, {"src/a.py": "", "loop.txt": "-r requirements.txt\n"}).startswith(message)


@pytest.mark.parametrize(
    ("line", "project"),
    [
        (".", LocalProject(".", (), False, None, None)),
        ("./", LocalProject(".", (), False, None, None)),
        ("-e .", LocalProject(".", (), True, None, None)),
        ("--editable=.", LocalProject(".", (), True, None, None)),
        ("-e .[test]", LocalProject(".", ("test",), True, None, None)),
        (".[b_x, a]", LocalProject(".", ("a", "b-x"), False, None, None)),
        ("-e ./sub", LocalProject("sub", (), True, None, None)),
        ("-e sub", LocalProject("sub", (), True, None, None)),
        ("./sub[x]", LocalProject("sub", ("x",), False, None, None)),
        ("file:sub", LocalProject("sub", (), False, None, None)),
        ("file:./sub", LocalProject("sub", (), False, None, None)),
        ("-e file:///workspace/sub#egg=foo", LocalProject("sub", (), True, None, None)),
        ("foo[x] @ file:///workspace/sub", LocalProject("sub", ("x",), False, None, None)),
        ("foo @ ./sub", LocalProject("sub", (), False, None, None)),
        (
            '.[x] ; python_version > "3"',
            LocalProject(".", ("x",), False, 'python_version > "3"', None),
        ),
    ],
)
def test_local_projects(line: str, project: LocalProject) -> None:
    found = read(f"pytest\n{line}\n", {"setup.py": SETUP, "sub/setup.py": SETUP})
    assert found.packages == ("pytest",)
    assert found.local_projects == (project,)
    assert found.include_root == (project.path == ".")
    assert not found.are_static


def test_a_name_without_a_slash_is_a_package_even_where_a_folder_bears_it() -> None:
    assert read("sub\n", {"sub/setup.py": SETUP}).packages == ("sub",)


def test_local_paths_in_nested_files_count_from_the_root() -> None:
    found = read("-r reqs/a.txt\n", {"reqs/a.txt": "-e .\n", "setup.py": SETUP})
    assert [project.path for project in found.local_projects] == ["."]


def test_static_projects_know_their_dependencies() -> None:
    found = read("-e .\n-e .\n", {"pyproject.toml": PYPROJECT})
    (project,) = found.local_projects
    assert found.are_static
    assert project.metadata is not None
    assert project.metadata.dependencies == ("attrs",)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("libs/a-1-py3-none-any.whl", "file:///workspace/libs/a-1-py3-none-any.whl"),
        ("./libs/a-1-py3-none-any.whl[x]", "file:///workspace/libs/a-1-py3-none-any.whl[x]"),
        ("file:libs/a-1-py3-none-any.whl", "file:///workspace/libs/a-1-py3-none-any.whl"),
        ("a[x] @ file:./libs/a-1-py3-none-any.whl", "a[x] @ file:///workspace/libs/a-1-py3-none-any.whl"),
        (
            './libs/a-1-py3-none-any.whl ; python_version>"3"',
            'file:///workspace/libs/a-1-py3-none-any.whl ; python_version > "3"',
        ),
        (
            "libs/a-1-py3-none-any.whl --hash=sha256:aa",
            "file:///workspace/libs/a-1-py3-none-any.whl --hash=sha256:aa",
        ),
    ],
)
def test_local_archives_are_taken_along(line: str, text: str) -> None:
    found = read(f"{line}\n", {"libs/a-1-py3-none-any.whl": "x", "libs/b-1.tar.gz": "y"})
    assert found.packages == (text,)
    assert found.bundle_paths == {"libs/a-1-py3-none-any.whl"}


def test_names_with_blanks_become_addresses() -> None:
    found = read("./my libs/a-1.tar.gz\n", {"my libs/a-1.tar.gz": "y"})
    assert found.packages == ("file:///workspace/my%20libs/a-1.tar.gz",)


def test_an_archive_that_is_a_link_is_taken_with_its_target() -> None:
    bundle = bundle_of(
        {"requirements.txt": "./a-1-py3-none-any.whl", "store/x": "y"}, {"a-1-py3-none-any.whl": "store/x"}
    )
    found = read_requirements(bundle, PackageSources())
    assert found.packages == ("file:///workspace/a-1-py3-none-any.whl",)
    assert found.bundle_paths == {"a-1-py3-none-any.whl", "store/x"}


def test_find_links_are_looked_for_beside_the_file_and_from_the_root() -> None:
    files: dict[str, str | bytes] = {
        "reqs/dev.txt": "-f wheels\n--find-links=dist\n-f https://example.com/x\n-f gone\n",
        "reqs/wheels/a-1-py3-none-any.whl": "x",
        "reqs/wheels/README": "",
        "dist/b-1.tar.gz": "y",
    }
    found = read("-r reqs/dev.txt\npytest\n", files)
    assert found.sources.find_links == (
        "file:///workspace/reqs/wheels",
        "file:///workspace/dist",
        "https://example.com/x",
    )
    assert found.bundle_paths == {"reqs/wheels/a-1-py3-none-any.whl", "dist/b-1.tar.gz"}
    assert found.remarks == ("reqs/dev.txt, line 4: 'gone' is not among the files that were sent",)


def test_options_without_a_counterpart_are_named() -> None:
    found = read("--prefer-binary\npytest --config-settings a=b\n")
    assert found.remarks == (
        "requirements.txt, line 1: --prefer-binary has no effect here",
        "requirements.txt, line 2: --config-settings has no effect here",
    )


def test_a_file_that_includes_others_again_and_again_comes_to_an_end() -> None:
    files: dict[str, str | bytes] = {f"{n}.txt": f"-r {n + 1}.txt\n-r {n + 1}.txt\n" for n in range(40)}
    assert fault("-r 0.txt\n", {**files, "40.txt": "pytest\n"}).endswith("too large or too many")


def test_hostile_sizes_are_refused() -> None:
    assert "longer than" in fault(b"#" * (2 << 20))
    assert "longer than" in fault("a" * 100_000)
    assert "line 1" in fault('a; python_version > "3" and ' + "(" * 5000)


def test_long_runs_of_blanks_take_no_time() -> None:
    assert read("pytest" + " " * 60_000 + "#\n" + " " * 900_000).packages == ("pytest",)


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_text_is_taken_or_refused(text: str, more: str) -> None:
    files: dict[str, str | bytes] = {"more.txt": more, "setup.py": SETUP}
    try:
        read(f"-r more.txt\n{text}".encode("utf-8", "replace"), files)
    except InvalidInput as error:
        assert str(error)
