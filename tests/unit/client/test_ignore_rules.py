from pathlib import Path

import pytest

from ci_client import bundling, git_view
from ci_client.problems import BadUse
from ci_client.selection import select
from tests.unit.client.trees import chosen, git, make_tree, rules

WITH_GIT = [True, False]


def test_names_by_their_form(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        [
            ".git/config", ".env", ".github/x.yml", ".pytest.ini", ".pytest.toml", ".coveragerc",
            "pkg/__pycache__/a.pyc", "pkg/a.py", "pkg/.coveragerc","__pycache__", "..x", "a.b",
            ".pytest.ini.d/x",
        ],
    )  # fmt: skip
    kept = [".coveragerc", ".pytest.ini", ".pytest.toml", "a.b", "pkg/.coveragerc", "pkg/a.py"]
    assert chosen(tmp_path) == kept
    assert rules(tmp_path)[".git/"] == "names that begin with '.'"
    assert rules(tmp_path)["pkg/__pycache__/"] == "__pycache__"


def test_folders_of_virtual_environments(tmp_path: Path) -> None:
    make_tree(tmp_path, ["venv/pyvenv.cfg", "venv/lib/x.py", "sub/env/pyvenv.cfg", "sub/a.py"])
    (tmp_path / "linked").symlink_to("/usr")
    outside = make_tree(tmp_path.parent / f"{tmp_path.name}-venv", ["pyvenv.cfg"])
    (tmp_path / "linked").unlink()
    (tmp_path / "linked").symlink_to(outside)
    assert chosen(tmp_path) == ["sub/a.py"]
    assert set(rules(tmp_path)) == {"venv/", "sub/env/", "linked"}


def test_a_project_that_is_itself_a_virtual_environment_goes(tmp_path: Path) -> None:
    make_tree(tmp_path, ["pyvenv.cfg", "a.py"])
    assert chosen(tmp_path) == ["a.py", "pyvenv.cfg"]


@pytest.mark.parametrize("with_git", WITH_GIT)
def test_gitignore_as_git_applies_it(tmp_path: Path, with_git: bool) -> None:
    make_tree(
        tmp_path,
        {
            ".gitignore": "*.log\nbuild/\n/top.txt\n!keep.log\n",
            "sub/.gitignore": "!special.log\nlocal.txt\n",
            "a.log": "", "keep.log": "", "build/x.py": "", "top.txt": "", "sub/top.txt": "",
            "sub/special.log": "", "sub/other.log": "", "sub/local.txt": "", "local.txt": "", "build.py": "",
            "sub/build/y.py": "",
        },
    )  # fmt: skip
    if with_git:
        git(tmp_path, "init")
    assert chosen(tmp_path) == ["build.py", "keep.log", "local.txt", "sub/special.log", "sub/top.txt"]


def test_tracked_files_stay_in(tmp_path: Path) -> None:
    make_tree(tmp_path, ["a.dat", "b.dat", "build/x", "build/y"])
    make_tree(tmp_path, {".gitignore": "*.dat\nbuild/\n"})
    git(tmp_path, "init")
    git(tmp_path, "add", "-f", "a.dat", "build/x")
    assert chosen(tmp_path) == ["a.dat", "build/x"]


def test_rules_of_the_folders_above_and_of_the_user_apply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(
        tmp_path,
        {
            ".gitignore": "*.log\n",
            ".git-global": "*.swp\n",
            "p/a.log": "",
            "p/b.swp": "",
            "p/c": "",
            "p/d": "",
        },
    )
    make_tree(tmp_path, ["p/b.swp", "p/c", "p/d"])
    git(tmp_path, "init")
    (tmp_path / ".git" / "info" / "exclude").write_text("c\n")
    git(tmp_path, "config", "core.excludesFile", str(tmp_path / ".git-global"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    assert chosen(tmp_path / "p") == ["d"]


def test_a_project_that_the_repository_around_it_ignores_is_sent_all_the_same(tmp_path: Path) -> None:
    make_tree(tmp_path, {".gitignore": "*\n", "p/.gitignore": "*.log\n", "p/a.py": "", "p/a.log": ""})
    git(tmp_path, "init")
    assert git_view.ignored_names(tmp_path / "p") is None
    assert chosen(tmp_path / "p") == ["a.py"]


def test_nested_repositories_have_rules_of_their_own(tmp_path: Path) -> None:
    make_tree(tmp_path, {".gitignore": "*.log\n", "nested/.gitignore": "*.o\n"})
    make_tree(tmp_path, ["nested/a.o", "nested/a.log"])
    git(tmp_path, "init")
    git(tmp_path / "nested", "init")
    assert chosen(tmp_path) == ["nested/a.log"]


def test_a_repository_that_git_refuses_is_read_by_hand(tmp_path: Path) -> None:
    make_tree(tmp_path, {".gitignore": "*.log\n", "a.log": "", "a.py": "", ".git": "gitdir: /nowhere\n"})
    assert chosen(tmp_path) == ["a.py"]


def test_names_that_git_quotes_are_understood(tmp_path: Path) -> None:
    names = ["ünï cödé.log", "new\tline.log", 'quo"te.log', "-v.log"]
    make_tree(tmp_path, {".gitignore": "*.log\n", **dict.fromkeys(names, ""), "a.py": ""})
    git(tmp_path, "init")
    assert chosen(tmp_path) == ["a.py"]


@pytest.mark.parametrize("with_git", WITH_GIT)
def test_ciignore_has_the_last_word(tmp_path: Path, with_git: bool) -> None:
    make_tree(
        tmp_path,
        {
            ".gitignore": "*.log\nout/\n",
            ".ciignore":"docs/\n*.md\n!README.md\n!.env\n!wanted.log\n!out/\n!.github/workflows/*.yml\n"
            "!venv/\n",
            "docs/a.py": "", "x.md": "", "README.md": "", "sub/README.md": "", ".env": "", "sub/.env": "",
            "wanted.log": "", "other.log": "", "out/x": "", "out/.y": "", "out/sub/__pycache__/z.pyc": "",
            ".github/workflows/a.yml": "", ".github/workflows/a.txt": "", ".github/b.yml": "",
            "venv/pyvenv.cfg": "", "venv/.env": "", ".venv/.env": "", ".venv/pyvenv.cfg": "",
        },
    )  # fmt: skip
    if with_git:
        git(tmp_path, "init")
        git(tmp_path, "add", "x.md")
    assert chosen(tmp_path) == [
        ".env", ".github/workflows/a.yml", "README.md", "out/.y", "out/sub/__pycache__/z.pyc", "out/x",
        "sub/.env", "sub/README.md", "venv/.env", "venv/pyvenv.cfg", "wanted.log",
    ]  # fmt: skip


def test_anything_can_be_brought_back(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        {".ciignore": "!.git\n!a/**/deep.txt\n", ".git/HEAD": "", "a/__pycache__/b/deep.txt": "", "a/c": ""},
    )
    assert chosen(tmp_path) == [".git/HEAD", "a/__pycache__/b/deep.txt", "a/c"]


def test_the_exact_rules_are_named(tmp_path: Path) -> None:
    make_tree(tmp_path, {".gitignore": "# x\n*.log\nout/\n", "a.log": "", "out/x": "", "a.py": ""})
    git(tmp_path, "init")
    lines = bundling.left_out_by_rule(tmp_path, select(tmp_path).left_out)
    assert "left out by .gitignore:2 *.log: a.log" in lines
    assert "left out by .gitignore:3 out/: out/" in lines


def test_how_many_are_left_out(tmp_path: Path) -> None:
    make_tree(tmp_path, [".a", ".b/x", ".c/y", "d"])
    assert bundling.left_out_summary(select(tmp_path).left_out) == (
        "2 folders and 1 file left out (-v says by which rule)"
    )
    assert bundling.left_out_summary([]) is None


@pytest.mark.parametrize("with_git", WITH_GIT)
def test_a_folder_of_nothing_but_ignored_files_goes_empty(tmp_path: Path, with_git: bool) -> None:
    make_tree(tmp_path, {".gitignore": "*.log\nold/\n", "logs/a.log": "", "p/q/b.log": "", "logs/old/c": ""})
    if with_git:
        git(tmp_path, "init")
    assert chosen(tmp_path) == ["logs/", "p/q/"]


def test_bad_patterns_are_named(tmp_path: Path) -> None:
    make_tree(tmp_path, {".ciignore": "good\n!\n"})
    with pytest.raises(BadUse, match=r"\.ciignore holds a pattern"):
        select(tmp_path)
