"""Gets source distributions from the package index that pip is set up for, and unpacks them."""

import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.projects import Project


def download(project: Project, folder: Path) -> Path:
    """The archive, in `folder`; pip holds it to the digest.

    Raises:
        RuntimeError: pip didn't get it.
    """
    folder.mkdir(parents=True)
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{project.name}=={project.version} --hash=sha256:{project.sha256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", project.name]
    done = subprocess.run(
        [*pip, "--dest", str(folder), "--requirement", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"pip could not get {project.name} {project.version}:\n{done.stderr}")
    return next(folder.glob("*.tar.gz"))


def unpack(archive: Path, project: Project, folder: Path) -> Path:
    """The project's root in `folder`, unchanged but for what `project` says is put there."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    _write_lines(root / "requirements.txt", project.requirements)
    if project.ci_ignore:
        _write_lines(root / ".ciignore", project.ci_ignore)
    return root


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
