"""What a local project depends on, where its `pyproject.toml` says so without being run (PEP 621). Pure.

Only what is certain is taken: where a build backend has the last word (`dynamic`, `setup.py` alone), or
the table is not as the standard has it, there is no static metadata, and the backend is asked in the job.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

PLACEHOLDER_VERSION = "0"
"""Stands for a version that only the build backend knows."""

_NAME = re.compile(r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")
_DEPENDENCY_FIELDS = frozenset({"dependencies", "optional-dependencies", "requires-python"})


@dataclass(frozen=True, slots=True)
class ProjectMetadata:
    """A project's own words on what it needs."""

    name: str
    """Normalised."""
    version: str | None
    """None where only the build backend knows it."""
    requires_python: str | None
    dependencies: tuple[str, ...]
    extras: tuple[tuple[str, tuple[str, ...]], ...]
    """Normalised names with their requirements."""

    def core_metadata(self) -> str:
        """The METADATA file of a wheel of it."""
        fields = [f"Name: {self.name}", f"Version: {self.version or PLACEHOLDER_VERSION}"]
        if self.requires_python is not None:
            fields.append(f"Requires-Python: {self.requires_python}")
        fields.extend(f"Requires-Dist: {requirement}" for requirement in self.dependencies)
        for extra, requirements in self.extras:
            fields.append(f"Provides-Extra: {extra}")
            fields.extend(f"Requires-Dist: {_under(requirement, extra)}" for requirement in requirements)
        return "\n".join(["Metadata-Version: 2.3", *fields, ""])

    def with_own_extras(self, extras: Iterable[str]) -> frozenset[str]:
        """`extras` and those that they, or the dependencies, ask of the project itself."""
        known = dict(self.extras)
        found: set[str] = set()
        pending = [*extras, *self._asked_of_itself(self.dependencies)]
        while pending:
            extra = pending.pop()
            if extra not in found:
                found.add(extra)
                pending.extend(self._asked_of_itself(known.get(extra, ())))
        return frozenset(found)

    def _asked_of_itself(self, requirements: Iterable[str]) -> Iterator[str]:
        for requirement in map(Requirement, requirements):
            if canonicalize_name(requirement.name) == self.name:
                yield from map(canonicalize_name, requirement.extras)

    @property
    def wheel_name(self) -> str:
        """The file name of a wheel of it."""
        return f"{self.name.replace('-', '_')}-{self.version or PLACEHOLDER_VERSION}-py3-none-any.whl"


def _under(requirement: str, extra: str) -> str:
    parsed = Requirement(requirement)
    condition = f'extra == "{extra}"'
    marker = condition if parsed.marker is None else f"({parsed.marker}) and {condition}"
    parsed.marker = None
    # A URL ends at a blank, so that the marker needs one before it.
    return f"{parsed} ; {marker}"


def static_metadata(pyproject: bytes) -> ProjectMetadata | None:
    """The metadata in a `pyproject.toml`; None where a build backend must be asked."""
    try:
        document = tomllib.loads(pyproject.decode())
        return _from_project(document.get("project"))
    except (ValueError, RecursionError, InvalidRequirement, InvalidSpecifier, InvalidVersion):
        return None


def _from_project(table: object) -> ProjectMetadata | None:
    if not isinstance(table, dict):
        return None
    project = cast("dict[str, object]", table)  # TOML's keys are strings
    dynamic = frozenset(_strings(project.get("dynamic", [])))
    if dynamic & _DEPENDENCY_FIELDS:
        return None
    name = _string(project["name"]) if "name" in project else ""
    if not _NAME.fullmatch(name) or ("version" not in project and "version" not in dynamic):
        return None
    requires_python = project.get("requires-python")
    return ProjectMetadata(
        name=canonicalize_name(name),
        version=None if "version" in dynamic else str(Version(_string(project["version"]))),
        requires_python=None if requires_python is None else str(SpecifierSet(_string(requires_python))),
        dependencies=_requirements(project.get("dependencies", [])),
        extras=_extras(project.get("optional-dependencies", {})),
    )


def _extras(table: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(table, dict):
        raise _NotStatic("optional-dependencies is no table")
    groups = cast("dict[str, object]", table)  # TOML's keys are strings
    if any(not _NAME.fullmatch(name) for name in groups):
        raise _NotStatic("the name of an extra is wrong")
    return tuple((canonicalize_name(name), _requirements(value)) for name, value in groups.items())


def _requirements(value: object) -> tuple[str, ...]:
    return tuple(_requirement(text) for text in _strings(value))


def _requirement(text: str) -> str:
    parsed = Requirement(text)
    if parsed.url is not None and not re.match(
        r"(https?|[a-z]+\+(https?|ssh|git)):", parsed.url, re.IGNORECASE
    ):
        raise _NotStatic("what it names lies in the project, which isn't there when packages are installed")
    return str(parsed)


class _NotStatic(ValueError):
    """The table is not as the standard has it."""


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise _NotStatic("not a string")
    return value


def _strings(value: object) -> list[str]:
    if not isinstance(value, list):
        raise _NotStatic("not an array")
    return [_string(item) for item in cast("list[object]", value)]  # what tomllib makes of an array
