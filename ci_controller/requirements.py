"""What a project's `requirements.txt` asks for, read from its archive as pip would read it. Pure.

All nested files are flattened into lines for one requirements file and one of constraints, with pip's
meaning kept: nested files are found beside the file that names them, local packages from the project's
root, and options count for everything. Invariants: nothing outside the project is ever named; the work
is bounded, whatever a stranger's files say; every complaint names file and line.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ci_common.bundle import Bundle
from ci_common.bundle_paths import shown
from ci_common.errors import InvalidInput
from ci_controller.bundle_tree import ROOT, BundleTree, Located
from ci_controller.package_sources import PackageSources
from ci_controller.project_metadata import ProjectMetadata, static_metadata
from ci_controller.requirement_lines import Line, decode, read_lines

REQUIREMENTS_FILE = "requirements.txt"
WORKSPACE = "/workspace"

_MAX_FILE_BYTES = 1 << 20
_MAX_TOTAL_BYTES = 4 << 20
_MAX_FILES = 500
_HTTP = re.compile(r"https?:", re.IGNORECASE)
_URL = re.compile(r"(https?|ftp|file|(git|hg|svn|bzr)(\+[a-z]+)?):", re.IGNORECASE)
_FILE_URL = re.compile(r"file:", re.IGNORECASE)
_VCS = re.compile(r"(git|hg|svn|bzr)[+:]", re.IGNORECASE)
_WITH_EXTRAS = re.compile(r"(?P<what>.+?)\s*\[(?P<extras>[^\[\]]*)\]")
_TAR_ARCHIVES = (
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tbz",
    ".tar.xz",
    ".txz",
    ".tlz",
    ".tar.lz",
    ".tar.lzma",
)
_ARCHIVES = (".whl", ".zip", *_TAR_ARCHIVES)


@dataclass(frozen=True, slots=True)
class LocalProject:
    """A line that names a folder of the project: `.`, `-e .[test]`, `./sub`."""

    path: str
    """Relative to the project's root, which is `.`."""
    extras: tuple[str, ...]
    editable: bool
    marker: str | None
    metadata: ProjectMetadata | None
    """None where only its build backend knows what it depends on."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """All that decides what is installed."""

    packages: tuple[str, ...]
    """Lines of a requirements file: all but the local projects."""
    constraints: tuple[str, ...]
    """Lines of a constraints file."""
    sources: PackageSources
    local_projects: tuple[LocalProject, ...]
    bundle_paths: frozenset[str]
    """The archive's entries that an installation of `packages` reads."""
    remarks: tuple[str, ...]
    """What has no effect here, for people."""

    @property
    def are_static(self) -> bool:
        """Whether everything but the local projects themselves can be installed without them."""
        return all(project.metadata is not None for project in self.local_projects)

    @property
    def include_root(self) -> bool:
        """Whether the project itself is installed."""
        return any(project.path == ROOT for project in self.local_projects)


def read_requirements(bundle: Bundle, defaults: PackageSources) -> Requirements:
    """What the project in `bundle` needs, where the installation's own settings are `defaults`.

    Raises:
        InvalidInput: the project can't be installed as it is; the message says why.
        BundleRejected: a file of the archive is damaged.
    """
    reader = _Reader(BundleTree(bundle), defaults)
    reader.read_file(REQUIREMENTS_FILE, None, _Kind.REQUIREMENTS, ())
    return reader.result()


class _Kind(Enum):
    REQUIREMENTS = "requirements"
    CONSTRAINTS = "constraints"


class _Reader:
    def __init__(self, tree: BundleTree, defaults: PackageSources) -> None:
        self._tree = tree
        self._sources = defaults
        self._lines: dict[_Kind, list[str]] = {kind: [] for kind in _Kind}
        self._projects: list[LocalProject] = []
        self._paths: set[str] = set()
        self._remarks: dict[str, None] = {}
        self._files = 0
        self._bytes = 0

    def result(self) -> Requirements:
        return Requirements(
            packages=tuple(self._lines[_Kind.REQUIREMENTS]),
            constraints=tuple(self._lines[_Kind.CONSTRAINTS]),
            sources=self._sources,
            local_projects=tuple(self._projects),
            bundle_paths=frozenset(self._paths),
            remarks=tuple(self._remarks),
        )

    def read_file(self, path: str, where: str | None, kind: _Kind, above: tuple[str, ...]) -> None:
        found = self._file(path, where)
        if found.path in above:
            raise InvalidInput(f"{where}: {shown(path)} names itself, directly or through another file")
        for line in self._read_lines(found, path):
            self._take(line, path, kind, (*above, found.path))

    def _file(self, path: str, where: str | None) -> Located:
        found = self._tree.find(path)
        prefix = "" if where is None else f"{where}: "
        if found is None:
            raise InvalidInput(f"{prefix}{shown(path)} is not among the files that were sent")
        if found.entry is None:
            raise InvalidInput(f"{prefix}{shown(path)} is a folder, not a file")
        return found

    def _read_lines(self, found: Located, path: str) -> Iterator[Line]:
        assert found.entry is not None
        self._files += 1
        self._bytes += found.entry.size_bytes
        if self._files > _MAX_FILES or self._bytes > _MAX_TOTAL_BYTES:
            raise InvalidInput(f"{REQUIREMENTS_FILE} and the files that it names are too large or too many")
        return read_lines(decode(self._tree.read(found.entry, _MAX_FILE_BYTES), path), path)

    def _take(self, line: Line, path: str, kind: _Kind, above: tuple[str, ...]) -> None:
        for option in line.ignored:
            self._remarks[f"{line.where}: {option} has no effect here"] = None
        if line.requirement is not None:
            self._sources = self._sources.with_line(line, ())
            self._take_requirement(line, line.requirement, kind)
        elif line.nested_requirements is not None:
            self._take_nested(line, line.nested_requirements, path, _Kind.REQUIREMENTS, above)
        elif line.nested_constraints is not None:
            self._take_nested(line, line.nested_constraints, path, _Kind.CONSTRAINTS, above)
        else:
            links = tuple(link for given in line.find_links for link in self._find_links(line, given, path))
            self._sources = self._sources.with_line(line, links)

    def _take_nested(self, line: Line, name: str, path: str, kind: _Kind, above: tuple[str, ...]) -> None:
        if _HTTP.match(name):
            option = "-r" if kind is _Kind.REQUIREMENTS else "-c"
            self._lines[_Kind.REQUIREMENTS].append(f"{option} {name}")
            return
        local = _file_url_path(name) if _FILE_URL.match(name) else name
        self.read_file(_inside(local, posixpath.dirname(path), line.where), line.where, kind, above)

    def _find_links(self, line: Line, given: str, path: str) -> Iterator[str]:
        if _URL.match(given) and not _FILE_URL.match(given):
            yield given
            return
        name = _file_url_path(given) if _FILE_URL.match(given) else given
        beside = self._tree.find(_inside(name, posixpath.dirname(path), line.where))
        found = beside or self._tree.find(_inside(name, "", line.where))
        if found is None:
            self._remarks[f"{line.where}: {shown(given)} is not among the files that were sent"] = None
            return
        self._paths |= found.links
        if found.entry is not None:
            self._paths.add(found.path)
        else:
            for file in self._tree.files_in(found.path):
                if file.lower().endswith(_ARCHIVES):
                    self._add_file(self._file(file, line.where))
        yield _file_url(found.path)

    def _take_requirement(self, line: Line, text: str, kind: _Kind) -> None:
        suffix = "".join(f" --hash={digest}" for digest in line.hashes)
        target = _target(text, line)
        if target is None:
            self._lines[kind].append(f"{text}{suffix}")
            return
        found = self._tree.find(_inside(target.path, "", line.where))
        if found is None:
            raise InvalidInput(f"{line.where}: {shown(target.path)} is not among the files that were sent")
        if found.entry is None:
            self._take_project(line, target, found.path, kind)
            return
        if line.editable:
            raise InvalidInput(f"{line.where}: {shown(target.path)} is no folder, so it can't be editable")
        self._add_file(found)
        self._lines[kind].append(f"{target.text(_file_url(_inside(target.path, '', line.where)))}{suffix}")

    def _add_file(self, found: Located) -> None:
        self._paths |= found.links | {found.path}

    def _take_project(self, line: Line, target: "_Target", path: str, kind: _Kind) -> None:
        if kind is _Kind.CONSTRAINTS:
            raise InvalidInput(f"{line.where}: a folder can't be a constraint")
        pyproject = self._tree.find(_child(path, "pyproject.toml"))
        if pyproject is None and self._tree.find(_child(path, "setup.py")) is None:
            raise InvalidInput(
                f"{line.where}: {shown(target.path)} can't be installed: "
                "it has neither a pyproject.toml nor a setup.py"
            )
        metadata = None
        if pyproject is not None and pyproject.entry is not None:
            metadata = static_metadata(self._tree.read(pyproject.entry, _MAX_FILE_BYTES))
        project = LocalProject(
            path, tuple(map(canonicalize_name, target.extras)), line.editable, target.marker, metadata
        )
        if project not in self._projects:
            self._projects.append(project)


@dataclass(frozen=True, slots=True)
class _Target:
    """What a line names by its place in the project."""

    name: str | None
    path: str
    extras: tuple[str, ...]
    marker: str | None

    def text(self, url: str) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        named = f"{url}{extras}" if self.name is None else f"{self.name}{extras} @ {url}"
        return named if self.marker is None else f"{named} ; {self.marker}"


def _target(text: str, line: Line) -> _Target | None:
    """The place in the project that `text` names; None where it comes from elsewhere."""
    subject, marker = _split_marker(text)
    if _URL.match(subject) and not _FILE_URL.match(subject):
        if line.editable and not _VCS.match(subject):
            raise InvalidInput(f"{line.where}: {shown(subject)} can't be editable")
        return None
    place, extras = _split_extras(subject)
    if _FILE_URL.match(subject):
        return _Target(None, _file_url_path(place), extras, marker)
    requirement = _parsed(text)
    if requirement is not None and requirement.url is not None:
        return _named_target(requirement, requirement.url)
    if line.editable or _is_path(place):
        return _Target(None, place, extras, marker)
    if requirement is None:
        raise InvalidInput(f"{line.where}: {shown(text)} is no requirement: {_fault_of(text)}")
    return None


def _parsed(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except (InvalidRequirement, RecursionError):
        return None


def _fault_of(text: str) -> str:
    try:
        Requirement(text)
    except (InvalidRequirement, RecursionError) as error:
        return str(error).partition("\n")[0] or "it can't be read"
    raise AssertionError(f"{text!r} has been judged before")


def _named_target(requirement: Requirement, url: str) -> _Target | None:
    """That of `name @ file:…` or `name @ ./…`."""
    if _URL.match(url) and not _FILE_URL.match(url):
        return None
    return _Target(
        name=requirement.name,
        path=_file_url_path(url) if _FILE_URL.match(url) else url,
        extras=tuple(sorted(requirement.extras)),
        marker=None if requirement.marker is None else str(requirement.marker),
    )


def _split_marker(text: str) -> tuple[str, str | None]:
    # In a URL a semicolon may be part of it, unless a blank follows.
    separator = "; " if _URL.match(text) else ";"
    subject, found, condition = text.partition(separator)
    if not found:
        return text.strip(), None
    try:
        return subject.strip(), str(Marker(condition.strip()))
    except (InvalidMarker, RecursionError):
        return text.strip(), None


def _split_extras(subject: str) -> tuple[str, tuple[str, ...]]:
    match = _WITH_EXTRAS.fullmatch(subject)
    if match is None:
        return subject, ()
    names = tuple(sorted({name.strip() for name in match["extras"].split(",")} - {""}))
    return match["what"], names


def _is_path(place: str) -> bool:
    return "/" in place or place.startswith(".") or place.lower().endswith(_ARCHIVES)


def _inside(path: str, base: str, where: str) -> str:
    """`path`, found from the folder `base`, relative to the project's root."""
    if posixpath.isabs(path):
        joined = posixpath.relpath(path, WORKSPACE)
    else:
        joined = posixpath.normpath(posixpath.join(base, path))
    if joined == ".." or joined.startswith("../"):
        raise InvalidInput(f"{where}: {shown(path)} lies outside of the project, which alone is sent")
    return joined


def _file_url_path(url: str) -> str:
    return unquote(urlsplit(url).path)


def _file_url(path: str) -> str:
    return f"file://{quote(_child(WORKSPACE, path))}" if path != ROOT else f"file://{WORKSPACE}"


def _child(directory: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(directory, name))
