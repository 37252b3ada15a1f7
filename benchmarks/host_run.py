"""Runs a project's tests with plain pytest in a virtual environment on this host, for comparison.

As in a job: the same requirements, no root, UTC, the same locale, no compiler, an empty stdin. Root would
pass where others fail (permissions don't bind it), so a caller who is root runs them as nobody.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.installation import clean_environ, command

_NOBODY = 65534
_SYSTEM_PYTHON = "/usr/bin/python3"


def default_python() -> str:
    """The interpreter that runs this, or the system's where that one lies in root's own home.

    Raises:
        RuntimeError: an unprivileged user can start neither.
    """
    candidates = (f"{sys.base_prefix}/bin/python3", _SYSTEM_PYTHON)
    for candidate in candidates:
        try:
            if _unprivileged([candidate, "-c", ""], clean_environ(), Path("/")).returncode == 0:
                return candidate
        except (PermissionError, FileNotFoundError):
            continue
    raise RuntimeError(f"an unprivileged user can start none of {', '.join(candidates)}")


def run_on_host(project: Path, folder: Path, python: str) -> str:
    """Output of `python -m pytest -v` in `project`, which has a `requirements.txt`.

    `folder` is empty and takes in environment and home.

    Raises:
        RuntimeError: the requirements can't be installed.
    """
    venv, home = folder / "venv", folder / "home"
    home.mkdir()
    _give_away(folder)
    _give_away(project)
    environ = clean_environ(
        HOME=str(home),
        TZ="UTC",
        LANG="C.UTF-8",
        CC="false",
        UV_CACHE_DIR=str(home / "cache"),
        VIRTUAL_ENV=str(venv),
        PATH=f"{venv}/bin:{os.environ['PATH']}",
    )
    for step in (
        ["venv", "--quiet", "--python", python, str(venv)],
        ["pip", "install", "--quiet", "--python", str(venv), "-r", "requirements.txt"],
    ):
        installed = _unprivileged([command("uv"), *step], environ, project)
        if installed.returncode != 0:
            raise RuntimeError(f"uv {' '.join(step)} failed on the host:\n{installed.stdout}")
    return _unprivileged([str(venv / "bin" / "python"), "-m", "pytest", "-v"], environ, project).stdout


def _unprivileged(
    argv: Sequence[str], environ: dict[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    is_root = os.geteuid() == 0
    return subprocess.run(
        argv,
        env=environ,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
        user=_NOBODY if is_root else None,
        group=_NOBODY if is_root else None,
        extra_groups=[] if is_root else None,
    )


def _give_away(folder: Path) -> None:
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
