"""The spec's JSON is what the runner's docstring promises, ASCII, and holds nothing else."""

import json
import re
from pathlib import Path

import pytest

from ci_common.models import Phase
from ci_controller import runner_processes, runner_setup, runner_spec
from ci_controller.frames import FRAMES_VERSION, MAX_LINE_BYTES
from ci_controller.runner_spec import CA_BUNDLE_PATH, CONFIG_FOLDER, SPEC_VERSION, RunnerSpec, RunnerStep


def test_all_fields() -> None:
    spec = RunnerSpec(
        uid=20001,
        gid=20002,
        steps=(
            RunnerStep(Phase.INSTALL, ("uv", "pip", "install"), {"UV_CACHE_DIR": "/tmp/uv"}, "/job"),
            RunnerStep(Phase.TEST, ("python", "-m", "pytest", "-k", "grüße\udcff")),
        ),
        time_limit_seconds=12.5,
        environment={"CI": "true"},
        home="/home/x",
        workspace="/w",
        writable=("/job",),
        config_files={"pip.conf": "[global]\n"},
        ca_bundle="PEM",
        log_limit_bytes=1,
        disk_limit_bytes=2,
        require_marker="/env/.complete",
        write_marker=None,
    )
    assert spec.to_json().isascii()
    assert json.loads(spec.to_json()) == {
        "version": SPEC_VERSION,
        "uid": 20001,
        "gid": 20002,
        "home": "/home/x",
        "workspace": "/w",
        "writable": ["/job"],
        "environment": {"CI": "true"},
        "config_files": {"pip.conf": "[global]\n"},
        "ca_bundle": "PEM",
        "steps": [
            {
                "phase": "install",
                "argv": ["uv", "pip", "install"],
                "environment": {"UV_CACHE_DIR": "/tmp/uv"},
                "cwd": "/job",
            },
            {
                "phase": "test",
                "argv": ["python", "-m", "pytest", "-k", "grüße\udcff"],
                "environment": {},
                "cwd": "/w",
            },
        ],
        "time_limit_seconds": 12.5,
        "log_limit_bytes": 1,
        "disk_limit_bytes": 2,
        "require_marker": "/env/.complete",
        "write_marker": None,
    }


@pytest.mark.parametrize(("uid", "gid"), [(0, 1), (1, 0)])
def test_nobody_runs_a_job_as_root(uid: int, gid: int) -> None:
    with pytest.raises(AssertionError):
        RunnerSpec(uid=uid, gid=gid, steps=(), time_limit_seconds=1)


def test_passwords_are_not_shown() -> None:
    spec = RunnerSpec(uid=1, gid=1, steps=(), time_limit_seconds=1, config_files={"pip.conf": "secret"})
    assert "secret" not in repr(spec)


def test_both_halves_of_the_contract_agree() -> None:
    source = Path(runner_spec.__file__).with_name("runner.py").read_text()
    assert re.findall(r"^VERSION = (.*)$", source, re.MULTILINE) == [str(SPEC_VERSION)]
    assert FRAMES_VERSION == SPEC_VERSION
    assert runner_setup.CONFIG_FOLDER == CONFIG_FOLDER
    assert f"{runner_setup.CONFIG_FOLDER}/{runner_setup.CA_BUNDLE}" == CA_BUNDLE_PATH
    assert runner_processes.FRAME_BYTES * 4 / 3 + 40 < MAX_LINE_BYTES
