"""The commands that install packages in a container: uv, told to do what pip would. Pure.

Invariants: uv obeys no configuration of the project (`--no-config`, `--no-sources`); what may be secret
stands in files on the container's tmpfs, never in an argument; uv's cache never outlives the container
or the environment that it was made for. The cache lies on the volume that is being filled, so that files
are hard-linked: a fifth faster than copying them out of the container's own layer. It may hold wheels
already, which were fetched there without running anything of theirs: the commands for that are here, too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from ci_common.models import Phase
from ci_controller.bundle_tree import ROOT
from ci_controller.package_sources import PackageSources, parse_pip_conf
from ci_controller.project_metadata import ProjectMetadata
from ci_controller.requirements import WORKSPACE, LocalProject, Requirements
from ci_controller.runner_spec import CONFIG_FOLDER, RunnerStep

UV: Final = "uv"
PYTHON: Final = "python3"
STUBS_FILE: Final = "stubs.json"
REQUIREMENTS_FILE: Final = "requirements.txt"
CONSTRAINTS_FILE: Final = "constraints.txt"
OVERRIDES_FILE: Final = "overrides.txt"
PROJECTS_FILE: Final = "projects.txt"


@dataclass(frozen=True, slots=True)
class InstallerSettings:
    """What the administrator has set for all installations; its texts go into every container."""

    sources: PackageSources = field(default_factory=PackageSources)
    pip_conf: str | None = field(default=None, repr=False)
    ca_bundle: str | None = field(default=None, repr=False)

    @classmethod
    def from_texts(cls, pip_conf: str | None, ca_bundle: str | None) -> "InstallerSettings":
        """From the contents of the files that `CI_PIP_CONF` and `CI_CA_BUNDLE` name.

        Raises:
            InvalidInput: the former is not a pip configuration.
        """
        sources = PackageSources() if pip_conf is None else parse_pip_conf(pip_conf)
        return cls(sources, pip_conf, ca_bundle)


# A wheel that holds nothing but a project's metadata stands in for the project while its dependencies
# are resolved: versions, extras and conflicts come out as if it were there.
_WRITE_STUBS = """
import json, os, sys, zipfile
with open(sys.argv[1], encoding="utf-8") as file:
    stubs = json.load(file)
os.makedirs(sys.argv[2], exist_ok=True)
for name, metadata in stubs.items():
    info = "-".join(name.split("-")[:2]) + ".dist-info/"
    with zipfile.ZipFile(os.path.join(sys.argv[2], name), "w") as wheel:
        wheel.writestr(info + "METADATA", metadata)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
"""

# A virtual environment on top of a read-only one. Its packages come first; scripts of the lower one are
# copied, since they look for `python` beside themselves, and large programs are linked. `.pth` files are
# read in the order of their names, and what an editable project's file adds must stand before the lower
# packages: hence the tilde.
_LAY_OVER = """
import os, shutil, sys
lower, upper = sys.argv[1:]
packages = "lib/python%d.%d/site-packages" % sys.version_info[:2]
os.makedirs(os.path.join(upper, packages))
for name in os.listdir(lower):
    if name in ("bin", "lib", "lib64") or name.startswith("."):
        continue
    source = os.path.join(lower, name)
    (shutil.copytree if os.path.isdir(source) else shutil.copy)(source, os.path.join(upper, name))
os.mkdir(os.path.join(upper, "bin"))
for name in os.listdir(os.path.join(lower, "bin")):
    source, target = os.path.join(lower, "bin", name), os.path.join(upper, "bin", name)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        continue
    with open(source, "rb") as file:
        is_script = file.read(2) == b"#!"
    (shutil.copy if is_script else os.symlink)(source, target)
with open(os.path.join(upper, packages, "~lower.pth"), "w", encoding="utf-8") as file:
    file.write("import site; site.addsitedir(%r)\\n" % os.path.join(lower, packages))
"""

# Bytecode is good as long as its file keeps its time, which a hard link does; uv makes what is missing. The
# names in it are those which the files will have. Without `site`, so that nobody's `.pth` is read.
_COMPILE = """
import compileall, os, sys
archives, packages = sys.argv[1:]
for name in os.listdir(archives):
    compileall.compile_dir(
        os.path.join(archives, name), ddir=packages % sys.version_info[:2], quiet=2, workers=1)
"""


class Installer:
    """Commands for one virtual environment and its cache."""

    def __init__(
        self, settings: InstallerSettings, requirements: Requirements, venv: str, build: str
    ) -> None:
        """`build` is a folder on the same file system as `venv` for what is needed while installing."""
        self._requirements = requirements
        self._venv = venv
        self._build = build
        self._environment = {
            "UV_CACHE_DIR": f"{build}/cache",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            **settings.sources.environment(),
        }

    def create_venv(self) -> RunnerStep:
        """An empty virtual environment that works wherever it is mounted."""
        # uv makes its cache first, which may lie in the very folder: hence --allow-existing.
        flags = ("--no-config", "--quiet", "--relocatable", "--allow-existing")
        return self._step(UV, "venv", *flags, "--python", PYTHON, self._venv)

    def lay_over(self, lower: str) -> RunnerStep:
        """A virtual environment on top of the one at `lower`."""
        return self._step(PYTHON, "-I", "-c", _LAY_OVER, lower, self._venv)

    def install_packages(self, *, compile_bytecode: bool) -> RunnerStep:
        """All of `package_files`."""
        arguments = ["--compile-bytecode"] if compile_bytecode else []
        return self._install(*arguments, *self._package_arguments())

    def fetch_packages(self) -> RunnerStep:
        """Wheels of all of `package_files` into the cache; fails where one would have to be built."""
        target = ("--target", self._fetched_folder, "--python", PYTHON)
        return self._pip_install("--no-build", *target, *self._package_arguments())

    def compile_fetched(self) -> RunnerStep:
        """Bytecode beside the files in the cache."""
        packages = f"{self._venv}/lib/python%d.%d/site-packages"
        archives = f"{self._environment['UV_CACHE_DIR']}/archive-v0"
        return self._step(PYTHON, "-I", "-S", "-c", _COMPILE, archives, packages)

    def remove_all_but_cache(self) -> RunnerStep:
        """What was needed for `fetch_packages` goes, what it has fetched stays."""
        return self._step("rm", "-rf", self._fetched_folder, self._stubs_folder)

    def install_projects(self) -> RunnerStep:
        """The local projects alone, their dependencies being there."""
        sources = self._requirements.sources.without_hashes().arguments()
        return self._install("--no-deps", "--requirements", _config(PROJECTS_FILE), *sources)

    def write_stubs(self) -> RunnerStep:
        """Stand-ins for the local projects, for `install_packages`."""
        return self._step(PYTHON, "-I", "-c", _WRITE_STUBS, _config(STUBS_FILE), self._stubs_folder)

    def remove_stubs(self) -> RunnerStep:
        """Leave only what the projects depend on."""
        names = sorted({metadata.name for _, metadata in _static(self._requirements)})
        return self._step(
            UV, "pip", "uninstall", "--no-config", "--quiet", "--python", f"{self._venv}/bin/python", *names
        )

    def remove_build_folder(self) -> RunnerStep:
        """Nothing but the packages stays."""
        return self._step("rm", "-rf", self._build)

    def package_files(self, *, stubs: bool) -> dict[str, str]:
        """Config files for `install_packages`; with `stubs`, projects are only stood in for."""
        requirements = self._requirements
        projects = self._stub_lines() if stubs else [_project_line(p) for p in requirements.local_projects]
        packages = [*requirements.sources.requirement_lines(), *requirements.packages, *projects]
        files = {REQUIREMENTS_FILE: _text(packages)}
        if requirements.constraints:
            files[CONSTRAINTS_FILE] = _text(requirements.constraints)
        if stubs and requirements.local_projects:
            files[STUBS_FILE] = json.dumps(
                {metadata.wheel_name: metadata.core_metadata() for _, metadata in _static(requirements)}
            )
        if stubs and self._overrides():
            files[OVERRIDES_FILE] = _text(self._overrides())
        return files

    def project_files(self) -> dict[str, str]:
        """Config files for `install_projects`."""
        requirements = self._requirements
        projects = [_project_line(project) for project in requirements.local_projects]
        return {PROJECTS_FILE: _text([*requirements.sources.requirement_lines(), *projects])}

    @property
    def _stubs_folder(self) -> str:
        return f"{self._build}/stubs"

    @property
    def _fetched_folder(self) -> str:
        return f"{self._build}/fetched"

    def _stub_lines(self) -> list[str]:
        return [
            f"{self._stub(metadata, project.extras)}{_marker(project)}"
            for project, metadata in _static(self._requirements)
        ]

    def _stub(self, metadata: ProjectMetadata, extras: Sequence[str]) -> str:
        wheel = quote(f"{self._stubs_folder}/{metadata.wheel_name}")
        return f"{metadata.name}{_extras(extras)} @ file://{wheel}"

    def _overrides(self) -> list[str]:
        # A version that isn't known satisfies whatever others ask for. uv takes the override's extras in
        # place of those asked for, so that the project's references to itself are followed here.
        extras: dict[ProjectMetadata, set[str]] = {}
        for project, metadata in _static(self._requirements):
            if metadata.version is None:
                extras.setdefault(metadata, set()).update(metadata.with_own_extras(project.extras))
        return [self._stub(metadata, sorted(names)) for metadata, names in extras.items()]

    def _package_arguments(self) -> list[str]:
        arguments = ["--requirements", _config(REQUIREMENTS_FILE)]
        if self._requirements.constraints:
            arguments += ["--constraints", _config(CONSTRAINTS_FILE)]
        if self._overrides():
            arguments += ["--overrides", _config(OVERRIDES_FILE)]
        return [*arguments, *self._requirements.sources.arguments()]

    def _install(self, *arguments: str) -> RunnerStep:
        return self._pip_install("--python", f"{self._venv}/bin/python", *arguments)

    def _pip_install(self, *arguments: str) -> RunnerStep:
        return self._step(UV, "pip", "install", "--no-config", "--no-sources", *arguments)

    def _step(self, *argv: str) -> RunnerStep:
        environment: Mapping[str, str] = self._environment if argv[0] == UV else {}
        return RunnerStep(phase=Phase.INSTALL, argv=argv, environment=environment)


def _static(requirements: Requirements) -> Iterator[tuple[LocalProject, ProjectMetadata]]:
    for project in requirements.local_projects:
        if project.metadata is not None:
            yield project, project.metadata


def _project_line(project: LocalProject) -> str:
    where = WORKSPACE if project.path == ROOT else f"{WORKSPACE}/{project.path}"
    flag = "-e " if project.editable else ""
    return f"{flag}file://{quote(where)}{_extras(project.extras)}{_marker(project)}"


def _extras(extras: Sequence[str]) -> str:
    return f"[{','.join(extras)}]" if extras else ""


def _marker(project: LocalProject) -> str:
    return "" if project.marker is None else f" ; {project.marker}"


def _config(name: str) -> str:
    return f"{CONFIG_FOLDER}/{name}"


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
