"""Rows about a large project: how fast it is on its way, and how much memory that takes."""

import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import sample_projects
from benchmarks.api import Api
from benchmarks.bench import Bench
from benchmarks.figures import Figure, at_most
from benchmarks.installation import Installation, command
from benchmarks.processes import PeakWatch, forget_peak, peak_kib, resident_kib
from benchmarks.samples import ratio, spread

_KIB_A_MIB = 1024
_FAST = 1
_CHANGED = "data/000/00001.dat"


@dataclass(slots=True)
class _Peaks:
    """Mebibytes above idle, the most of all submissions."""

    client: list[float]
    server: list[float]
    controller: list[float]


def upload(bench: Bench) -> list[Figure]:
    """A project of many files: first sent whole, then with one file changed.

    A round's first submission must find nothing of the project in the server, so each is a new user's.
    """
    files, total_bytes = bench.choose(20_000, 500), bench.choose(1 << 30, 24 << 20)
    bench.progress.tell(f"{files} files of {total_bytes >> 20} MiB together are made")
    project = sample_projects.large(bench.new_folder("large"), files, total_bytes)
    peaks = _Peaks([], [], [])
    with bench.roomy_ground() as ground:
        installation = ground.installation
        idle_kib = _client_peak_kib(installation, bench.small_project)
        users = (installation.as_new_user(f"upload-{number}") for number in range(1_000_000))
        present = installation

        def first() -> float:
            nonlocal present
            present = next(users)
            return _submit_seconds(present, project, peaks, idle_kib)

        def again() -> float:
            (project / _CHANGED).write_bytes(os.urandom(total_bytes // files))
            return _submit_seconds(present, project, peaks, idle_kib)

        ours, changed, theirs = bench.alternate(
            bench.choose(3, 1), first, again, lambda: _zip_seconds(project, bench.new_folder("zip"))
        )
    samples = {"ci submit test --async": ours, "one file changed": changed, "zip -1 and a copy": theirs}
    return [
        Figure("÷ zip and copy", ratio(ours, theirs), target=at_most(1.5), samples=samples),
        Figure("one file changed ÷ first", ratio(changed, ours), target=at_most(0.15)),
        Figure("client's memory above idle", spread(peaks.client), "MiB", at_most(64)),
        Figure("server's memory above idle", spread(peaks.server), "MiB", at_most(64)),
        Figure("controller's memory above idle", spread(peaks.controller), "MiB", at_most(64)),
        Figure("ci submit test --async", spread(ours), "s"),
        Figure("one file changed", spread(changed), "s"),
        Figure("zip -1 and a copy", spread(theirs), "s"),
    ]


def _submit_seconds(installation: Installation, project: Path, peaks: _Peaks, idle_kib: int) -> float:
    services = installation.services
    before_server, before_controller = (
        resident_kib(pid) for pid in (services.server_pid, services.controller_pid)
    )
    forget_peak(services.server_pid)
    forget_peak(services.controller_pid)
    seconds, client_kib, job_id = _submit(installation, project)
    Api(installation).wait(job_id)  # the controller has sent all files on only then
    peaks.client.append((client_kib - idle_kib) / _KIB_A_MIB)
    peaks.server.append((peak_kib(services.server_pid) - before_server) / _KIB_A_MIB)
    peaks.controller.append((peak_kib(services.controller_pid) - before_controller) / _KIB_A_MIB)
    return seconds


def _client_peak_kib(installation: Installation, project: Path) -> int:
    _, kib, job_id = _submit(installation, project)
    Api(installation).wait(job_id)
    return kib


def _submit(installation: Installation, project: Path) -> tuple[float, int, str]:
    """Wall time and peak memory of the client, and the job."""
    started = time.monotonic()
    process = subprocess.Popen(
        [command("ci"), "submit", "test", "--async", str(project), "--", "-q", "test_project.py"],
        env=dict(installation.client_environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    watch = PeakWatch(process.pid)
    watcher = threading.Thread(target=watch.run, name="client's memory")
    watcher.start()
    output, errors = process.communicate()
    seconds = time.monotonic() - started
    watch.stop()
    watcher.join()
    if process.returncode != 0:
        raise RuntimeError(f"ci submit test --async: {process.returncode}\n{errors.decode(errors='replace')}")
    return seconds, watch.kib, output.decode().split()[-1]


def _zip_seconds(project: Path, folder: Path) -> float:
    """`zip -1` of the tree and one copy of the archive."""
    archive, copy = folder / "project.zip", folder / "copy.zip"
    program = shutil.which("zip")
    started = time.monotonic()
    if program is not None:
        subprocess.run([program, "-q", "-r", f"-{_FAST}", str(archive), "."], cwd=project, check=True)
    else:
        _zip_with_python(project, archive)
    shutil.copyfile(archive, copy)
    seconds = time.monotonic() - started
    shutil.rmtree(folder)
    return seconds


def _zip_with_python(project: Path, archive: Path) -> None:
    print("no `zip` here: Python's own, at its fastest, takes its place", file=sys.stderr)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as target:
        for path in sorted(project.rglob("*")):
            target.write(path, path.relative_to(project))
