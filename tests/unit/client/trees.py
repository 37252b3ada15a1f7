"""Small projects on disk."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from ci_client.selection import Selection, select
from ci_common.bundle import EntryKind


def make_tree(root: Path, files: Mapping[str, str] | list[str]) -> Path:
    """Files with their text; names that end in a slash become folders."""
    texts = files if isinstance(files, Mapping) else dict.fromkeys(files, "")
    for name, text in texts.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


def paths(selection: Selection) -> list[str]:
    """What goes, folders with a slash."""
    return sorted(
        entry.path + "/" if entry.kind is EntryKind.DIRECTORY else entry.path for entry in selection.entries
    )


def chosen(root: Path) -> list[str]:
    return paths(select(root))


def rules(root: Path) -> dict[str, str]:
    return {left.path: left.rule for left in select(root).left_out}
