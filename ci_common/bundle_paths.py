"""Which names an uploaded archive may hold, and how a name is shown to people. Pure.

A name that passes is relative, canonical (no empty, `.` or `..` part), free of backslashes and
control characters, and short enough for any Linux file system. Names come from strangers: whatever
is put into a message goes through `shown` first, so that no terminal obeys it.
"""

import re
from collections.abc import Iterable, Mapping

from ci_common.errors import BundleRejected

MAX_PART_BYTES = 255
MAX_LINK_DEPTH = 40
"""Links that Linux follows in one path."""

_SHOWN_CHARACTERS = 120
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def shown(name: str) -> str:
    """`name` in quotes, fit for a message: unprintable characters escaped, cut where it is long."""
    cut = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return f"'{escaped}'"


def rejected(name: str, fault: str) -> BundleRejected:
    """The refusal of one entry, by name."""
    return BundleRejected(f"the archive's entry {shown(name)} {fault}")


def checked_path(name: str, max_path_bytes: int) -> str:
    """`name` as a relative path without a slash at its end.

    Raises:
        BundleRejected: it breaks a rule.
    """
    path = name.removesuffix("/")
    fault = _fault_of(path, max_path_bytes)
    if fault is not None:
        raise rejected(name, fault)
    return path


def _fault_of(path: str, max_path_bytes: int) -> str | None:
    # What costs least first: a hostile name is long.
    if len(path) > max_path_bytes or len(path.encode()) > max_path_bytes:
        return f"has a name longer than {max_path_bytes} bytes"
    if _CONTROL.search(path):
        return "has a control character in its name"
    if path.startswith("/"):
        return "has an absolute path"
    if "\\" in path:
        return "has a backslash in its name"
    if _DRIVE.match(path):
        return "begins with a drive letter"
    return _fault_of_parts(path.split("/"))


def _fault_of_parts(parts: list[str]) -> str | None:
    for part in parts:
        if part == "..":
            return "climbs out of the project with '..'"
        if part in {"", "."}:
            return "has an empty or '.' part in its path"
        if len(part.encode()) > MAX_PART_BYTES:
            return f"has a name with a part longer than {MAX_PART_BYTES} bytes"
    return None


def check_tree(paths: Iterable[tuple[str, bool]]) -> None:
    """Refuse names that occur twice, and entries beneath one that is no directory.

    `paths` are checked paths, with True for directories. Sorted with the slash as the lowest
    character, what lies beneath an entry follows it immediately: memory stays in proportion to the
    names, however deep they are.

    Raises:
        BundleRejected: naming the second of the two entries.
    """
    previous: str | None = None
    leaf: str | None = None
    for key, is_directory in sorted((path.replace("/", "\0"), directory) for path, directory in paths):
        path = key.replace("\0", "/")
        if key == previous:
            raise rejected(path, "occurs twice")
        if leaf is not None and key.startswith(leaf + "\0"):
            raise rejected(path, f"lies beneath {shown(leaf.replace(chr(0), '/'))}, which is no directory")
        previous = key
        leaf = leaf if is_directory else key


def check_links(links: Mapping[str, str]) -> None:
    """Refuse symlinks that lead out of the project, directly or through one another.

    `links` maps each link's path to its target. Dangling links and loops are harmless. Relies on
    `check_tree`: no link lies beneath another.

    Raises:
        BundleRejected: naming the link.
    """
    resolver = _LinkResolver(links)
    for path in links:
        resolver.resolve(path, depth=1)


class _LinkResolver:
    """Where each link ends up, every link worked out once."""

    def __init__(self, links: Mapping[str, str]) -> None:
        self._links = links
        self._ends: dict[str, str | None] = {}
        """None: nowhere, for it runs in a circle."""

    def resolve(self, link: str, depth: int) -> str | None:
        """The path that `link` leads to, links followed; None for a circle."""
        if link in self._ends:
            return self._ends[link]
        if depth > MAX_LINK_DEPTH:
            raise rejected(link, f"is a symlink at the end of more than {MAX_LINK_DEPTH} others")
        self._ends[link] = None
        self._ends[link] = self._walk(link, self._links[link], depth)
        return self._ends[link]

    def _walk(self, link: str, target: str, depth: int) -> str | None:
        if target.startswith("/") or "\\" in target or _DRIVE.match(target):
            raise rejected(link, f"is a symlink to {shown(target)}; only relative targets are allowed")
        here = link.rpartition("/")[0]
        for part in target.split("/"):
            if part in {"", "."}:
                continue
            if part == "..":
                if not here:
                    raise rejected(link, f"is a symlink that leads out of the project, to {shown(target)}")
                here = here.rpartition("/")[0]
                continue
            here = f"{here}/{part}" if here else part
            if here in self._links:
                end = self.resolve(here, depth + 1)
                if end is None:
                    return None
                here = end
        return here
