"""Which packages a job needs, whether they are there already, and what its containers have to do. Pure.

A job without local projects needs one environment and nothing more. Of local projects that say what they
depend on, the dependencies are in the environment, and the projects are laid over it in each job. Where
only a project's own code knows what it depends on, the job installs everything itself and nothing is kept,
so that no stranger's tests or `setup.py` ever write to what a later job starts from.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from ci_common.bundle import Bundle, EntryKind
from ci_common.ids import UserId
from ci_common.models import Environment, Phase, SubmitOptions
from ci_controller.installer import Installer, InstallerSettings
from ci_controller.job_environment import HOME, PIP_CONF, job_environment, with_virtual_environment
from ci_controller.requirements import WORKSPACE, Requirements
from ci_controller.runner_spec import RunnerSpec, RunnerStep

KEY_VERSION: Final = 1
"""Grows whenever the same requirements would make another environment."""

ENVIRONMENT: Final = "/env"
ENVIRONMENT_MARKER: Final = f"{ENVIRONMENT}/.complete"
JOB_FOLDER: Final = "/job"
JOB_VENV: Final = f"{JOB_FOLDER}/venv"

_BUILD_IN_ENVIRONMENT = f"{ENVIRONMENT}/.build"
_BUILD_IN_JOB = f"{JOB_FOLDER}/build"
_DEFAULT_PYTEST_ARGS = ("-v",)


@dataclass(frozen=True, slots=True)
class Placement:
    """What the container itself decides."""

    uid: int
    gid: int
    cpus: float
    time_limit_seconds: float
    log_limit_bytes: int
    disk_limit_bytes: int


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """How an environment is made."""

    spec: RunnerSpec
    paths: frozenset[str]
    """The archive's entries that the container gets: never the project or its tests."""


def environment_key(
    user_id: UserId, image_id: str, settings: InstallerSettings, requirements: Requirements, bundle: Bundle
) -> str:
    """SHA-256 over all that decides what an environment holds.

    Raises:
        BundleRejected: a local package is damaged.
    """
    content = {
        "version": KEY_VERSION,
        "user": user_id,
        "image": image_id,
        "ca_bundle": settings.ca_bundle,
        "sources": asdict(requirements.sources),
        "packages": requirements.packages,
        "constraints": requirements.constraints,
        "projects": [
            (project.extras, project.marker, project.metadata and project.metadata.core_metadata())
            for project in requirements.local_projects
        ],
        "files": _digests(bundle, requirements.bundle_paths),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digests(bundle: Bundle, paths: frozenset[str]) -> dict[str, str]:
    digests: dict[str, str] = {}
    for entry in bundle.entries:
        if entry.path not in paths:
            continue
        if entry.kind is EntryKind.FILE:
            digest = hashlib.sha256()
            for chunk in bundle.chunks(entry):
                digest.update(chunk)
            digests[entry.path] = digest.hexdigest()
        else:
            digests[entry.path] = f"-> {entry.target}"
    return digests


def is_fresh(environment: Environment, now: datetime, max_age: timedelta) -> bool:
    """Whether a job may start from it; one from the future is a clock's fault, and made anew."""
    return timedelta(0) <= now - environment.created_at < max_age


def plan_install(
    requirements: Requirements, settings: InstallerSettings, options: SubmitOptions, placement: Placement
) -> InstallPlan:
    """The container that fills an environment; the requirements must be static."""
    assert requirements.are_static, "what only a project's code knows is never kept"
    installer = Installer(settings, requirements, ENVIRONMENT, _BUILD_IN_ENVIRONMENT)
    has_projects = bool(requirements.local_projects)
    steps = [
        installer.create_venv(),
        *([installer.write_stubs()] if has_projects else []),
        installer.install_packages(compile_bytecode=True),
        *([installer.remove_stubs()] if has_projects else []),
        installer.remove_build_folder(),
    ]
    spec = _spec(
        steps,
        settings,
        options,
        placement,
        config_files=installer.package_files(stubs=True),
        writable=(ENVIRONMENT,),
        write_marker=ENVIRONMENT_MARKER,
    )
    return InstallPlan(spec, requirements.bundle_paths)


def can_be_fetched(requirements: Requirements) -> bool:
    """Whether everything can be had from an index, as wheels.

    `--no-binary PACKAGE` is stronger than `--no-build`: uv builds that package all the same.
    """
    return requirements.are_static and not requirements.bundle_paths and not requirements.sources.no_binary


def plan_fetch(requirements: Requirements, settings: InstallerSettings, placement: Placement) -> RunnerSpec:
    """The container that gets wheels for the user's next environment, onto the volume which that will fill.

    Nothing of a stranger's runs in it: nothing is built, and no Python sees the packages.
    """
    assert can_be_fetched(requirements), "what would run code, or needs the archive, isn't fetched"
    installer = Installer(settings, requirements, ENVIRONMENT, _BUILD_IN_ENVIRONMENT)
    steps = [
        *([installer.write_stubs()] if requirements.local_projects else []),
        installer.fetch_packages(),
        installer.compile_fetched(),
        installer.remove_all_but_cache(),
    ]
    return _spec(
        steps,
        settings,
        SubmitOptions(),
        placement,
        config_files=installer.package_files(stubs=True),
        writable=(ENVIRONMENT,),
    )


def plan_test(
    requirements: Requirements, settings: InstallerSettings, options: SubmitOptions, placement: Placement
) -> RunnerSpec:
    """The job's own container, which gets the whole archive."""
    installer = Installer(settings, requirements, JOB_VENV, _BUILD_IN_JOB)
    if not requirements.are_static:
        steps = [installer.create_venv(), installer.install_packages(compile_bytecode=False)]
        venv, marker, files = JOB_VENV, None, installer.package_files(stubs=False)
    elif requirements.local_projects:
        steps = [installer.lay_over(ENVIRONMENT), installer.install_projects()]
        venv, marker, files = JOB_VENV, ENVIRONMENT_MARKER, installer.project_files()
    else:
        steps = []
        venv, marker, files = ENVIRONMENT, ENVIRONMENT_MARKER, {}
    return _spec(
        [*steps, _test_step(requirements, settings, options, placement, venv)],
        settings,
        options,
        placement,
        config_files=files,
        writable=(JOB_FOLDER,),
        require_marker=marker,
    )


def _test_step(
    requirements: Requirements,
    settings: InstallerSettings,
    options: SubmitOptions,
    placement: Placement,
    venv: str,
) -> RunnerStep:
    arguments = _DEFAULT_PYTEST_ARGS if options.pytest_args is None else options.pytest_args
    environment = with_virtual_environment(_variables(settings, options, placement), venv)
    if not requirements.include_root:
        # An installed project is found as it was installed, with what its build has added.
        environment["PYTHONPATH"] = f"{WORKSPACE}/src"
    return RunnerStep(
        phase=Phase.TEST, argv=(f"{venv}/bin/python", "-m", "pytest", *arguments), environment=environment
    )


def _variables(
    settings: InstallerSettings, options: SubmitOptions, placement: Placement
) -> Mapping[str, str]:
    return job_environment(
        options,
        cpus=placement.cpus,
        has_pip_conf=settings.pip_conf is not None,
        has_ca_bundle=settings.ca_bundle is not None,
    )


def _spec(
    steps: list[RunnerStep],
    settings: InstallerSettings,
    options: SubmitOptions,
    placement: Placement,
    *,
    config_files: dict[str, str],
    writable: tuple[str, ...],
    require_marker: str | None = None,
    write_marker: str | None = None,
) -> RunnerSpec:
    pip_conf = {} if settings.pip_conf is None else {PIP_CONF: settings.pip_conf}
    return RunnerSpec(
        uid=placement.uid,
        gid=placement.gid,
        steps=tuple(steps),
        time_limit_seconds=placement.time_limit_seconds,
        environment=_variables(settings, options, placement),
        home=HOME,
        workspace=WORKSPACE,
        writable=writable,
        config_files={**pip_conf, **config_files},
        ca_bundle=settings.ca_bundle,
        log_limit_bytes=placement.log_limit_bytes,
        disk_limit_bytes=placement.disk_limit_bytes,
        require_marker=require_marker,
        write_marker=write_marker,
    )
