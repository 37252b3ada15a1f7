"""Which names of a project stay behind, and by which rule.

In rising order: the names' own form (a leading dot, `__pycache__`, a folder with a `pyvenv.cfg`), then
what `.gitignore` excludes as git applies it, then `.ciignore` of the project's root, which has the last
word; its `!` patterns bring anything back. One with a slash in it reaches into folders that stay behind
otherwise; one without is applied where the walk comes anyway, so that `!.env` doesn't search every
virtual environment.

Paths are relative to the project's root, with slashes.
"""

import fnmatch
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ci_client import git_view
from ci_client.problems import BadUse, cause_of

GIT_RULE = ".gitignore"
_KEPT_DOT_FILES = frozenset({".pytest.ini", ".pytest.toml", ".coveragerc"})


def rule_of_form(name: str, *, is_folder: bool) -> str | None:
    """The rule by which a name's form alone keeps it behind."""
    if name == "__pycache__":
        return "__pycache__"
    if name.startswith(".") and (is_folder or name not in _KEPT_DOT_FILES):
        return "names that begin with '.'"
    return None


class PatternFile:
    """One ignore file, with the lines of its patterns."""

    def __init__(self, text: str, name: str) -> None:
        from pathspec import GitIgnoreSpec  # noqa: PLC0415 - slow to import, and most projects don't need it
        from pathspec.patterns.gitignore import GitIgnorePatternError  # noqa: PLC0415 - as above

        lines = text.splitlines()
        try:
            self._spec = GitIgnoreSpec.from_lines(lines)
        except GitIgnorePatternError as error:
            raise BadUse(f"{name} holds a pattern that can't be understood: {error}") from error
        self._lines = lines
        self._name = name

    def judge(self, path: str) -> tuple[bool | None, str]:
        """True where the file excludes `path`, False where it brings it back; and by which line."""
        result = self._spec.check_file(path)
        if result.include is None or result.index is None:
            return None, ""
        return result.include, f"{self._name}:{result.index + 1} {self._lines[result.index].strip()}"


class CiIgnore:
    """`.ciignore`, which has the last word."""

    def __init__(self, text: str) -> None:
        self._patterns = PatternFile(text, ".ciignore")
        self._returns = [_parts(line) for line in text.splitlines() if _reaches_in(line)]

    def judge(self, path: str, *, is_folder: bool) -> tuple[bool | None, str]:
        """True: left out. False: brought back. None: nothing said."""
        return self._patterns.judge(path + "/" if is_folder else path)

    def may_return(self, folder: str) -> bool:
        """Whether something inside `folder`, which stays behind, could be brought back."""
        parts = folder.split("/")
        return any(_may_lie_in(pattern, parts) for pattern in self._returns)


def _reaches_in(line: str) -> bool:
    return line.startswith("!") and "/" in line[1:].strip().rstrip("/")


def _parts(line: str) -> list[str]:
    return line[1:].strip().strip("/").split("/")


def _may_lie_in(pattern: Sequence[str], folder: Sequence[str]) -> bool:
    for wanted, part in zip(pattern, folder, strict=False):
        if wanted == "**":
            return True
        if not fnmatch.fnmatchcase(part, wanted):
            return False
    return len(pattern) > len(folder) or pattern[-1] == "**"


class ProjectRules(ABC):
    """What version control excludes beneath one folder."""

    @abstractmethod
    def enter(self, folder: str) -> None:
        """The walk is about to list `folder` (its absolute path is root and folder)."""

    @abstractmethod
    def rule_for(self, path: str, *, is_folder: bool) -> str | None:
        """The rule that excludes `path`, if any."""


@dataclass(frozen=True, slots=True)
class _Repository:
    prefix: str
    ignored: git_view.IgnoredNames


class GitRules(ProjectRules):
    """As git itself says, in nested repositories and submodules each by its own."""

    def __init__(self, root: Path, ignored: git_view.IgnoredNames) -> None:
        self._root = root
        self._repositories = [_Repository("", ignored)]

    def enter(self, folder: str) -> None:
        if not folder or not os.path.lexists(self._root / folder / ".git"):
            return
        ignored = git_view.ignored_names(self._root / folder)
        if ignored is not None:
            self._repositories.append(_Repository(folder + "/", ignored))

    def rule_for(self, path: str, *, is_folder: bool) -> str | None:
        path = git_view.normalised(path)
        for repository in self._repositories:
            if path.startswith(repository.prefix):
                own = path[len(repository.prefix) :]
                if own in (repository.ignored.folders if is_folder else repository.ignored.files):
                    return GIT_RULE
        return None


class GitignoreFiles(ProjectRules):
    """By reading the `.gitignore` files, where there is no git to ask."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[str, PatternFile] = {}

    def enter(self, folder: str) -> None:
        text = read_if_there(self._root / folder / ".gitignore")
        if text is not None:
            self._files[folder] = PatternFile(text, f"{folder}/.gitignore" if folder else ".gitignore")

    def rule_for(self, path: str, *, is_folder: bool) -> str | None:
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            patterns = self._files.get(folder)
            if patterns is None:
                continue
            own = path[len(folder) + 1 :] if folder else path
            excluded, rule = patterns.judge(own + "/" if is_folder else own)
            if excluded is not None:
                return rule if excluded else None
        return None


def project_rules(root: Path) -> ProjectRules:
    """The best way there is to apply `.gitignore` in `root`."""
    if git_view.is_in_work_tree(root):
        ignored = git_view.ignored_names(root)
        if ignored is not None:
            return GitRules(root, ignored)
    return GitignoreFiles(root)


def ci_ignore(root: Path) -> CiIgnore | None:
    """The project's `.ciignore`, if it has one."""
    text = read_if_there(root / ".ciignore")
    return None if text is None else CiIgnore(text)


def read_if_there(path: Path) -> str | None:
    """The text of an ignore file; None where there is none.

    Raises:
        BadUse: it is there, but can't be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadUse(f"can't read {path}: {cause_of(error)}") from error
