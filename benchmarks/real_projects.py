"""Runs the tests of well-known projects on the platform and on this host, and writes the table of both.

    python -m benchmarks.real_projects

downloads each project's source distribution, puts a `requirements.txt` into it, submits it twice to a
temporary installation and runs it once with plain pytest on the host. Needs a Docker engine and a package
index. Exits 1 when a result differs for no reason that is known. Project names as arguments restrict it
to these and print the table in place of writing it.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import pytest_log
from benchmarks.host_run import default_python, run_on_host
from benchmarks.installation import Installation, temporary_installation
from benchmarks.projects import PROJECTS, Project
from benchmarks.pytest_log import PytestLog
from benchmarks.source_distributions import download, unpack

_PAGE = Path(__file__).parent.parent / "docs" / "real-projects.md"
_TEXT = """\
# Tests of real projects

The source distributions of well-known projects, submitted with `ci submit test` as they are; only the
`requirements.txt` was added that `benchmarks/projects.py` has for each. Beside it the same files on the
host that the platform ran on: plain `python -m pytest -v` in a new virtual environment with the same
requirements.

`python -m benchmarks.real_projects` made this page: {cores} cores, one job at a time, a load
of {load:.1f} from other work on the machine when it began.

| project | version | tests run | passed | failed | passed on the host | failed on the host | first | second |
|---|---|---:|---:|---:|---:|---:|---:|---:|
{rows}

- Tests run are those that were not skipped; passed and failed leave out those that were expected to fail.
  The counts are pytest's own, and the results were compared test by test.
- "First" and "second" are the wall times of the two submissions: those of the whole command
  `ci submit test`. The first installs the requirements; the second finds them in the cache and installs
  the project itself alone. Of a project whose dependencies only its build can tell (python-dateutil), each
  submission installs everything.
- Python is {python_here} in the container and {python_there} on the host.
- In a job tests run as an unprivileged user, so on the host they do, too: root could read and write what
  some tests expect to be refused. Time zone (UTC) and locale (C.UTF-8) are the same.
- The base image has no C compiler, so markupsafe falls back to its pure Python implementation, and its
  tests of the other one are skipped. On the host `CC=false` has the same effect.

## Differences

{differences}

## Failed on both sides

{failed_on_both}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One project's results."""

    project: Project
    here: PytestLog
    there: PytestLog
    first_seconds: float
    second_seconds: float
    differences: list[str]

    def __str__(self) -> str:
        here, there = self.here, self.there
        results = (here.run, here.passed, here.failed, there.passed, there.failed)
        times = (f"{self.first_seconds:.1f} s", f"{self.second_seconds:.1f} s")
        return f"| {' | '.join(map(str, (self.project.label, self.project.version, *results, *times)))} |"


def main() -> int:
    """Make the table; 1 when a result differs for no known reason."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_projects", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PROJECT", help="only these")
    parser.add_argument("--host-python", help="interpreter of the run on the host")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {project.name for project in PROJECTS}
    if unknown:
        parser.error(f"no such project: {', '.join(sorted(unknown))}")
    chosen = [project for project in PROJECTS if not arguments.names or project.name in arguments.names]
    host_python: str = arguments.host_python or default_python()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it, too, must leave nothing behind
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="real-projects-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the run on the host may be another user's
        (folder / "installation").mkdir()
        with temporary_installation(folder / "installation") as installation:
            rows = [
                _measure(project, folder / str(number), installation, host_python)
                for number, project in enumerate(chosen)
            ]
    page = _page(rows, load)
    if arguments.names:
        print(page)
    else:
        _PAGE.parent.mkdir(exist_ok=True)
        _PAGE.write_text(page, encoding="utf-8")
    return 1 if any(row.differences and not row.project.reason for row in rows) else 0


def _measure(project: Project, folder: Path, installation: Installation, host_python: str) -> Row:
    archive = download(project, folder / "archive")
    first, first_seconds = _submit(unpack(archive, project, folder / "first"), installation)
    second, second_seconds = _submit(unpack(archive, project, folder / "second"), installation)
    (folder / "host").mkdir()
    there = pytest_log.read(
        run_on_host(unpack(archive, project, folder / "there"), folder / "host", host_python)
    )
    found = _differences(first, second, there)
    row = Row(project, first, there, first_seconds, second_seconds, found)
    print(row, *found, sep="\n", file=sys.stderr, flush=True)
    return row


def _differences(first: PytestLog, second: PytestLog, there: PytestLog) -> list[str]:
    found = pytest_log.differences(first, there)
    if not found and first.counts != there.counts:
        found.append(f"{dict(first.counts)} here, {dict(there.counts)} on the host")
    if first.counts != second.counts:
        found.append(f"{dict(first.counts)} in the first job, {dict(second.counts)} in the second")
    return found


def _submit(project: Path, installation: Installation) -> tuple[PytestLog, float]:
    started = time.monotonic()
    done = installation.ci("submit", "test", cwd=project)
    seconds = time.monotonic() - started
    try:
        return pytest_log.read(done.stdout.decode()), seconds
    except ValueError as error:
        raise RuntimeError(f"exit code {done.returncode}\n{done.stderr.decode()}\n{error}") from error


def _page(rows: list[Row], load: float) -> str:
    differences: list[str] = []
    failed: list[str] = []
    for row in rows:
        if row.differences:
            differences += [f"{row.project.label}: {row.project.reason}", ""]
            differences += [*(f"- {line}" for line in row.differences), ""]
        both = pytest_log.failed_in_both(row.here, row.there)
        if both:
            failed += [f"{row.project.label}: {row.project.failure}", "", *(f"- {test}" for test in both), ""]
    return _TEXT.format(
        cores=os.cpu_count(),
        load=load,
        rows="\n".join(map(str, rows)),
        python_here=rows[0].here.python,
        python_there=rows[0].there.python,
        differences="\n".join(differences).rstrip()
        or "None: every test ended in the container as it did on the host.",
        failed_on_both="\n".join(failed).rstrip() or "None.",
    )


if __name__ == "__main__":
    sys.exit(main())
