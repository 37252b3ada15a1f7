"""Walks a project and decides what goes: in a fixed order, each folder listed once, nothing opened.

The walk refuses by name what can't be sent (sockets, pipes, devices, links that lead outside, names that
aren't UTF-8, folders that can't be read) and says what disappeared under its hands. The rules are those
of `ignore_rules`; what is found wrong here the server would refuse, too (`ci_common.bundle`).
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from ci_client import ignore_rules, links
from ci_client.ignore_rules import CiIgnore, ProjectRules
from ci_client.problems import BadUse, cause_of
from ci_common.bundle import BundleLimits, EntryKind
from ci_common.bundle_paths import checked_path, shown
from ci_common.errors import BundleRejected

_MAX_PATH_BYTES = BundleLimits().max_path_bytes
_NAMED_FAULTS = 5
VENV_RULE = "folders with a pyvenv.cfg"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that goes."""

    path: str
    """Relative to the project's root, with slashes."""
    kind: EntryKind
    target: str = ""
    """Of a symlink."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One name that stays behind; of a folder, with all that it holds."""

    path: str
    """With a slash at its end where it is a folder."""
    rule: str


@dataclass(slots=True)
class Selection:
    """What a walk has found."""

    entries: list[Entry] = field(default_factory=list[Entry])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])
    remarks: list[str] = field(default_factory=list[str])


class _Mode(Enum):
    """How a folder came to be walked."""

    PLAIN = auto()
    BROUGHT_BACK = auto()
    """`.ciignore` wants it, whatever else would keep it behind."""
    SEARCHED = auto()
    """It stays behind; only what `.ciignore` brings back is looked for."""


def select(root: Path, pause: Callable[[], None] = lambda: None) -> Selection:
    """Walk `root`; `pause` is called for each folder and may raise to end the walk.

    Raises:
        BadUse: something can't be sent.
    """
    walk = _Walk(root, ignore_rules.project_rules(root), ignore_rules.ci_ignore(root))
    walk.run(pause)
    return walk.finished()


class _Walk:
    def __init__(self, root: Path, rules: ProjectRules, ci_ignore: CiIgnore | None) -> None:
        self._root = root
        self._rules = rules
        self._ci_ignore = ci_ignore
        self._found = Selection()
        self._faults: list[str] = []
        self._stack: list[tuple[str, _Mode]] = [("", _Mode.PLAIN)]

    def run(self, pause: Callable[[], None]) -> None:
        while self._stack:
            pause()
            folder, mode = self._stack.pop()
            listing = self._list(folder)
            if listing is not None:
                self._folder(folder, mode, listing)

    def finished(self) -> Selection:
        if self._faults:
            raise BadUse(_all_of(self._faults))
        found = self._found
        targets = {entry.path: entry.target for entry in found.entries if entry.kind is EntryKind.SYMLINK}
        links.check(targets)
        found.remarks += links.remarks(self._root, targets, [entry.path for entry in found.entries])
        return found

    def _list(self, folder: str) -> Sequence[os.DirEntry[str]] | None:
        try:
            with os.scandir(self._root / folder) as listing:
                return sorted(listing, key=lambda entry: entry.name)
        except FileNotFoundError:
            if not folder:
                raise BadUse(f"{self._root} doesn't exist") from None
            self._found.remarks.append(f"{shown(folder)} disappeared while it was read; it is not sent")
        except OSError as error:
            where = shown(folder) if folder else str(self._root)
            self._faults.append(f"the folder {where} can't be read: {cause_of(error)}")
        return None

    def _folder(self, folder: str, mode: _Mode, listing: Sequence[os.DirEntry[str]]) -> None:
        if mode is _Mode.PLAIN and folder and any(entry.name == "pyvenv.cfg" for entry in listing):
            self._leave_out(folder, VENV_RULE, is_folder=True)
            return
        if mode is not _Mode.SEARCHED:
            self._rules.enter(folder)
        folders: list[tuple[str, _Mode]] = []
        holds_something = False
        for entry in listing:
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                goes = self._name(path, entry, mode, folders)
            except FileNotFoundError:
                self._found.remarks.append(f"{shown(path)} disappeared while it was read; it is not sent")
                continue
            except OSError as error:
                self._faults.append(f"{shown(path)} can't be read: {cause_of(error)}")
                continue
            holds_something = holds_something or goes
        if folder and not holds_something and mode is not _Mode.SEARCHED:
            self._add(Entry(folder, EntryKind.DIRECTORY))
        self._stack += reversed(folders)

    def _name(
        self, path: str, entry: os.DirEntry[str], mode: _Mode, folders: list[tuple[str, _Mode]]
    ) -> bool:
        """Deal with one name; whether it goes."""
        is_folder = entry.is_dir(follow_symlinks=False)
        rule, child_mode = self._verdict(path, entry.name, mode, is_folder=is_folder)
        if rule is not None:
            if mode is not _Mode.SEARCHED:
                self._leave_out(path, rule, is_folder=is_folder)
            elif is_folder:
                self._search(path)
            return False
        if is_folder and not links.is_junction(entry):
            folders.append((path, child_mode))
            return True
        return self._leaf(path, entry, child_mode)

    def _verdict(self, path: str, name: str, mode: _Mode, *, is_folder: bool) -> tuple[str | None, _Mode]:
        """The rule that keeps it behind, if any, and how it is to be walked."""
        if self._ci_ignore is not None:
            excluded, rule = self._ci_ignore.judge(path, is_folder=is_folder)
            if excluded is not None:
                return (rule, mode) if excluded else (None, _Mode.BROUGHT_BACK)
        if mode is _Mode.SEARCHED:
            return "its folder", mode
        rule = ignore_rules.rule_of_form(name, is_folder=is_folder)
        return rule or self._rules.rule_for(path, is_folder=is_folder), _Mode.PLAIN

    def _leaf(self, path: str, entry: os.DirEntry[str], mode: _Mode) -> bool:
        if entry.is_symlink():
            return self._link(path, entry, mode)
        if entry.is_file(follow_symlinks=False):
            return self._add(Entry(path, EntryKind.FILE))
        what = _special_kind(entry)
        self._faults.append(
            f"{shown(path)} is {what}, which can't be sent; remove it, or name it in .ciignore"
        )
        return False

    def _link(self, path: str, entry: os.DirEntry[str], mode: _Mode) -> bool:
        if mode is not _Mode.BROUGHT_BACK and links.leads_to_virtual_environment(self._root / path):
            self._leave_out(path, VENV_RULE, is_folder=False)
            return False
        try:
            target = links.sent_target(self._root, path, str(Path(entry.path).readlink()))
        except BadUse as fault:
            self._faults.append(str(fault))
            return False
        return self._add(Entry(path, EntryKind.SYMLINK, target))

    def _add(self, entry: Entry) -> bool:
        try:
            (entry.path + entry.target).encode()
            checked_path(entry.path, _MAX_PATH_BYTES)
        except UnicodeEncodeError:
            self._faults.append(f"{shown(entry.path)} has a name or target that isn't UTF-8; rename it")
        except BundleRejected as error:
            fault = str(error).removeprefix("the archive's entry ")
            self._faults.append(f"{fault}; rename it, or name it in .ciignore")
        self._found.entries.append(entry)
        return True

    def _leave_out(self, path: str, rule: str, *, is_folder: bool) -> None:
        self._found.left_out.append(LeftOut(path + "/" if is_folder else path, rule))
        if is_folder:
            self._search(path)

    def _search(self, folder: str) -> None:
        if self._ci_ignore is not None and self._ci_ignore.may_return(folder):
            self._stack.append((folder, _Mode.SEARCHED))


def _special_kind(entry: os.DirEntry[str]) -> str:
    mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "neither file, folder nor link"


def _all_of(faults: Sequence[str]) -> str:
    more = len(faults) - _NAMED_FAULTS
    named = " | ".join(faults[:_NAMED_FAULTS])
    return f"{named} | and {more} more" if more > 0 else named
