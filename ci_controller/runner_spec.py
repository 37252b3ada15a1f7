"""What the runner in a container is told to do: a value, and the JSON that goes ahead of the files.

`ci_controller/runner.py` can import nothing of ours, so this module is the writer's half of a contract
whose reader's half is there; `SPEC_VERSION` grows whenever the two would misunderstand each other. The
controller builds a `RunnerSpec`, `ci_controller.feeding` sends it. The JSON object has these fields:

    version             SPEC_VERSION
    uid, gid            who the job's processes are; never 0
    home, workspace     folders that the runner makes and gives to the job; the files go into `workspace`
    writable            more folders of that kind, such as `/job` or, while it is filled, `/env`
    environment         variables of every step, the whole of them: nothing is inherited
    config_files        {name: text}, written into `CONFIG_FOLDER`, readable by the job
    ca_bundle           PEM text or null; `CA_BUNDLE_PATH` then holds the image's own store and it
    steps               [{phase, argv, cwd, environment}], one after the other until one fails;
                        `environment` goes over the common one
    time_limit_seconds  from the spec's arrival to the last step's end
    log_limit_bytes     output of all steps together; null for none
    disk_limit_bytes    what the job may occupy in all folders that it can write to; null for none
    require_marker      file that must exist, root's, before the first step; else null
    write_marker        file that is written as root once every step has succeeded and every process of
                        the job is dead; its folder is given back to root; else null
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ci_common.models import Phase

SPEC_VERSION: Final = 1
CONFIG_FOLDER: Final = "/run/ci"
CA_BUNDLE_PATH: Final = f"{CONFIG_FOLDER}/ca-certificates.crt"
"""What `SSL_CERT_FILE` and its like should name where the spec has a `ca_bundle`."""


@dataclass(frozen=True, slots=True)
class RunnerStep:
    """One command. A TEST step `PYTHON -m pytest …` that fails for want of pytest is told apart."""

    phase: Phase
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None
    """None for the workspace."""


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """All that one container does; the module's docstring explains the fields."""

    uid: int
    gid: int
    steps: tuple[RunnerStep, ...]
    time_limit_seconds: float
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    home: str = "/home/ci"
    workspace: str = "/workspace"
    writable: tuple[str, ...] = ()
    config_files: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """May hold passwords of package indexes."""
    ca_bundle: str | None = field(default=None, repr=False)
    log_limit_bytes: int | None = None
    disk_limit_bytes: int | None = None
    require_marker: str | None = None
    write_marker: str | None = None

    def __post_init__(self) -> None:
        assert self.uid > 0, "a job's processes are never root"
        assert self.gid > 0, "a job's processes are never of root's group"

    def to_json(self) -> bytes:
        """The ASCII JSON object that the runner reads."""
        return json.dumps(
            {
                "version": SPEC_VERSION,
                "uid": self.uid,
                "gid": self.gid,
                "home": self.home,
                "workspace": self.workspace,
                "writable": list(self.writable),
                "environment": dict(self.environment),
                "config_files": dict(self.config_files),
                "ca_bundle": self.ca_bundle,
                "steps": [self._step(step) for step in self.steps],
                "time_limit_seconds": self.time_limit_seconds,
                "log_limit_bytes": self.log_limit_bytes,
                "disk_limit_bytes": self.disk_limit_bytes,
                "require_marker": self.require_marker,
                "write_marker": self.write_marker,
            }
        ).encode("ascii")

    def _step(self, step: RunnerStep) -> dict[str, object]:
        return {
            "phase": step.phase.value,
            "argv": list(step.argv),
            "environment": dict(step.environment),
            "cwd": self.workspace if step.cwd is None else step.cwd,
        }
