"""What git says about a work tree; the only module that runs git.

Asked for what is ignored, not for what is tracked: that is short, and the names come from the disk as
they are spelled there. Variables that a hook has set are dropped, since they name another repository.
"""

import os
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_OF_ONE_REPOSITORY = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX", "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
    }
)  # fmt: skip
"""`git rev-parse --local-env-vars`, and the name space."""

_EXECUTABLE_MODE = b"100755"


@dataclass(frozen=True, slots=True)
class IgnoredNames:
    """What git ignores beneath a folder, relative to it; tracked files are never among it."""

    files: frozenset[str]
    folders: frozenset[str]
    """Without a slash at the end. Whatever lies in them is ignored too, and not listed."""


def is_in_work_tree(folder: Path) -> bool:
    """Whether `folder` or one above it holds a `.git`; cheap, git is not asked."""
    here = folder.resolve()
    return any(os.path.lexists(above / ".git") for above in (here, *here.parents))


def ignored_names(folder: Path) -> IgnoredNames | None:
    """What git ignores in `folder`.

    None where git can't tell: it isn't installed, distrusts the repository, or ignores the folder
    itself as a whole, which then was named by the user with a reason.
    """
    listing = _git(folder, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
    if listing is None:
        return None
    names = {normalised(os.fsdecode(name)) for name in listing.split(b"\0") if name}
    if names == {"./"}:
        return None
    # A folder that merely holds nothing but ignored files is listed, too, but with its files.
    folders = {name for name in names if name.endswith("/")} - _folders_above(names) - {"./"}
    return IgnoredNames(
        files=frozenset(name for name in names if not name.endswith("/")),
        folders=frozenset(name[:-1] for name in folders),
    )


def _folders_above(names: Collection[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        above = name.rstrip("/").rpartition("/")[0]
        while above and above + "/" not in found:
            found.add(above + "/")
            above = above.rpartition("/")[0]
    return found


def rules_behind(folder: Path, paths: Sequence[str]) -> Mapping[str, str]:
    """For each ignored path, folders with a slash at the end, the line that ignores it."""
    asked = b"\0".join(os.fsencode(path) for path in paths)
    answer = _git(folder, "check-ignore", "-v", "-z", "--stdin", stdin=asked)
    if answer is None:
        return {}
    fields = [os.fsdecode(field) for field in answer.split(b"\0")]
    rules: dict[str, str] = {}
    for start in range(0, len(fields) - 3, 4):
        source, line, pattern, path = fields[start : start + 4]
        rules[path] = f"{source}:{line} {pattern}"
    return rules


def executable_files(folder: Path) -> frozenset[str]:
    """The tracked files that git's index marks as executable, for systems whose disks can't."""
    listing = _git(folder, "ls-files", "-z", "--cached", "--stage")
    if listing is None:
        return frozenset()
    found: set[str] = set()
    for record in listing.split(b"\0"):
        description, tab, name = record.partition(b"\t")
        if tab and description.startswith(_EXECUTABLE_MODE):
            found.add(normalised(os.fsdecode(name)))
    return frozenset(found)


def normalised(name: str) -> str:
    """`name` in the form in which names are compared: on macOS git composes what the disk may not."""
    return unicodedata.normalize("NFC", name) if sys.platform == "darwin" else name


def _git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes | None:
    import subprocess  # noqa: PLC0415 - not every project is git's, and the import takes time

    environment = {name: value for name, value in os.environ.items() if name not in _OF_ONE_REPOSITORY}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, input=stdin, capture_output=True, check=False
        )
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
