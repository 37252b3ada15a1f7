"""Looking up paths in an uploaded archive as a file system would, links followed. Pure but for reading it.

`ci_common.bundle` has judged the archive before: its links stay inside. Nothing is unpacked; callers
are the parts that plan an installation.
"""

import posixpath
from dataclasses import dataclass

from ci_common.bundle import Bundle, BundleEntry, EntryKind
from ci_common.bundle_paths import MAX_LINK_DEPTH, shown
from ci_common.errors import InvalidInput

ROOT = "."


@dataclass(frozen=True, slots=True)
class Located:
    """What a path leads to."""

    path: str
    """Without links; `.` is the project's root."""
    entry: BundleEntry | None
    """None for a directory, which needs no entry of its own."""
    links: frozenset[str]
    """Entries of the symlinks that were followed."""


class BundleTree:
    """The names of one archive."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._entries = {entry.path: entry for entry in bundle.entries}
        self._children: dict[str, set[str]] = {ROOT: set()}
        for entry in bundle.entries:
            self._note_parents(entry.path, entry.kind is EntryKind.DIRECTORY)

    def _note_parents(self, path: str, is_directory: bool) -> None:
        if is_directory:
            self._children.setdefault(path, set())
        child = path
        while child != ROOT:
            parent = _parent(child)
            siblings = self._children.setdefault(parent, set())
            if child in siblings:
                return
            siblings.add(child)
            child = parent

    def find(self, path: str) -> Located | None:
        """What `path` (relative, normalised) leads to; None where there is nothing."""
        links: set[str] = set()
        pending = [part for part in reversed(path.split("/")) if part != ROOT]
        here = ROOT
        while pending:
            part = pending.pop()
            here = _joined(here, part)
            entry = self._entries.get(here)
            if entry is not None and entry.target is not None:
                links.add(here)
                if len(links) > MAX_LINK_DEPTH:
                    return None
                pending.extend(part for part in reversed(entry.target.split("/")) if part not in {"", ROOT})
                here = _parent(here)
            elif here not in self._children and (entry is None or pending):
                return None
        file = None if here in self._children else self._entries[here]
        return Located(here, file, frozenset(links))

    def files_in(self, directory: str) -> list[str]:
        """Paths of the files and links that lie directly in `directory`, sorted."""
        return sorted(path for path in self._children[directory] if path not in self._children)

    def read(self, entry: BundleEntry, limit_bytes: int) -> bytes:
        """A file's content.

        Raises:
            InvalidInput: it is longer than `limit_bytes`, or (as `BundleRejected`) damaged.
        """
        if entry.size_bytes > limit_bytes:
            raise InvalidInput(f"{shown(entry.path)} is longer than the {limit_bytes} bytes allowed")
        return b"".join(self._bundle.chunks(entry))


def _joined(directory: str, part: str) -> str:
    return posixpath.normpath(posixpath.join(directory, part))


def _parent(path: str) -> str:
    return posixpath.dirname(path) or ROOT
