"""The parts of scripts/lib.sh, each run by a bash of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Finished:
    exit_code: int
    stdout: str
    stderr: str


def _bash(body: str, **environ: str) -> Finished:
    """`body` behind the functions of lib.sh, with this interpreter's environment as the virtual one."""
    script = f'set -euo pipefail\n. "$1"\nvenv=$2\ntrap tidy EXIT\n{body}\n'
    foreign = {"DOCKER_HOST", "CI_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "PYTHON"}
    done = subprocess.run(
        ["bash", "-c", script, "the-script", str(ROOT / "scripts" / "lib.sh"), sys.prefix],
        env={name: value for name, value in os.environ.items() if name not in foreign} | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def _program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_step_that_works_shows_its_name_alone() -> None:
    done = _bash('step "making tea" echo hidden\necho after')
    assert done == Finished(0, "after\n", "==> making tea\n")


def test_a_step_that_fails_shows_its_output_and_ends_the_script() -> None:
    done = _bash("step \"making tea\" sh -c 'echo no water >&2; exit 3'\necho after")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("==> making tea\nno water\n")
    assert "exit code 3" in done.stderr


def test_a_step_has_no_stdin() -> None:
    assert _bash('step "reading" cat').exit_code == 0


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    assert _bash('step "writing" true', TMPDIR=str(tmp_path)).exit_code == 0
    assert _bash('step "writing" false', TMPDIR=str(tmp_path)).exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_the_first_python_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    _program(tmp_path / "python3", "exit 1  # too old")
    _program(tmp_path / "python3.13", "echo no such version >&2; exit 127  # a shim without a version")
    _program(tmp_path / "python3.12", "exit 0")
    done = _bash(f"PATH={tmp_path}:$PATH\nfind_python")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/python3.12\n")


def test_a_named_python_is_the_only_candidate(tmp_path: Path) -> None:
    _program(tmp_path / "old", "exit 1")
    assert _bash("find_python", PYTHON=str(tmp_path / "old")).exit_code == 1
    done = _bash("find_python", PYTHON=sys.executable)
    assert done.stdout == f"{sys.executable}\n"


def test_without_python_or_rights_one_line_says_what_to_do(tmp_path: Path) -> None:
    body = f"is_root_on_debian() {{ return 1; }}\nvenv={tmp_path}/none\nensure_venv"
    done = _bash(body, PYTHON=str(tmp_path / "missing"))
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "install one, or name it in PYTHON" in line


def test_an_engine_that_was_named_and_does_not_answer_is_not_replaced(tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/no.sock"
    done = _bash("ensure_engine", DOCKER_HOST=address)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert f"DOCKER_HOST={address}" in line


def test_without_an_engine_or_rights_one_line_says_what_to_do() -> None:
    done = _bash(
        'engine_answers() { echo "connection refused" >"$scratch/engine.error"; return 1; }\n'
        "is_root_on_debian() { return 1; }\nensure_engine"
    )
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "connection refused" in line
    assert "set DOCKER_HOST" in line


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"SSL_CERT_FILE": "{ca}"}, "{ca}"),
        ({"PIP_CERT": "{ca}"}, "{ca}"),
        ({"SSL_CERT_FILE": "{ca}", "CI_CA_BUNDLE": "{other}"}, "{other}"),
        ({"SSL_CERT_FILE": "{missing}"}, ""),
    ],
)
def test_a_hosts_authorities_are_passed_on(tmp_path: Path, given: dict[str, str], expected: str) -> None:
    places = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "other", "missing")}
    for name in ("ca", "other"):
        Path(places[name]).touch()
    environ = {name: text.format(**places) for name, text in given.items()}
    done = _bash('pass_on_authorities\nprintf %s "${CI_CA_BUNDLE:-}"', **environ)
    assert done == Finished(0, expected.format(**places), "")


def test_a_number_that_another_process_has_now_is_stale(tmp_path: Path) -> None:
    stale = tmp_path / "stale.pid"
    stale.write_text(str(os.getpid()))
    assert _bash(f"remove_stale_pid {stale} dockerd").exit_code == 0
    assert not stale.exists()


def test_the_number_of_a_living_daemon_stays(tmp_path: Path) -> None:
    current = tmp_path / "current.pid"
    done = _bash(
        f"echo $$ >{current}\nremove_stale_pid {current} bash\nremove_stale_pid {tmp_path}/none bash"
    )
    assert done.exit_code == 0
    assert current.exists()


def test_a_second_set_up_does_nothing(tmp_path: Path) -> None:
    body = (
        "ensure_venv() { :; }\n"
        'step() { echo "$1"; }\n'
        f"venv={tmp_path}\n"
        "install_packages run; echo --\ninstall_packages run; echo --\n"
        "install_packages dev; echo --\ninstall_packages run"
    )
    first, second, with_tools, after = _bash(body).stdout.split("--\n")
    assert "installing" in first
    assert second == ""
    assert "installing" in with_tools
    assert after == ""
