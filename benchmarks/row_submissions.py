"""Rows about one submission from process start to exit, and about the client's start alone."""

import sys
import time

from benchmarks import sample_projects
from benchmarks.bench import PYTEST, Bench, command_seconds, install_script
from benchmarks.figures import Figure, at_most
from benchmarks.installation import clean_environ, command
from benchmarks.samples import ratio, spread

_PAUSE_SECONDS = 8.0
"""Between installations: somebody reads the result and edits `requirements.txt`, and what the platform does
behind an installation disturbs neither the next one nor the baseline."""


def warm(bench: Bench) -> list[Figure]:
    """The second submission of a project beside `docker run` of an image that has its packages."""
    installation, project = bench.standard.installation, bench.small_project
    command_seconds(bench.packed_command(project))
    ours, theirs = bench.alternate(
        bench.choose(15, 4),
        lambda: bench.submit_seconds(installation, project),
        lambda: command_seconds(bench.packed_command(project)),
    )
    samples = {"ci submit test": ours, "docker run": theirs}
    return [
        Figure("÷ docker run", ratio(ours, theirs), target=at_most(1.0, 0.75), samples=samples),
        Figure("ci submit test", spread(ours), "s"),
        Figure("docker run", spread(theirs), "s"),
    ]


def cold(bench: Bench) -> list[Figure]:
    """With nothing installed yet beside `docker run` that installs; then with one package more.

    Each round is a new user: everything that may be cached belongs to one user, so for a new one it is empty.
    """
    installation = bench.standard.installation
    users = (installation.as_new_user(f"cold-{number}") for number in range(1_000_000))
    packages = " ".join(sample_projects.REQUIREMENTS)
    bare = bench.engine.run_command(*bench.authority_options(), "--network", bench.standard.network)
    script = f"{install_script(packages)} && exec /v/bin/python {' '.join(PYTEST)}"
    present = installation

    def first() -> float:
        nonlocal present
        present = next(users)
        time.sleep(_PAUSE_SECONDS)
        return bench.submit_seconds(present, bench.small_project)

    def changed() -> float:
        project = bench.copy_of(bench.small_project)
        sample_projects.require(project, *sample_projects.REQUIREMENTS, sample_projects.ONE_MORE)
        time.sleep(_PAUSE_SECONDS)
        return bench.submit_seconds(present, project)

    def baseline() -> float:
        mount = f"{bench.copy_of(bench.small_project)}:/workspace"
        place = ("--volume", mount, "--workdir", "/workspace", bench.base_image)
        time.sleep(_PAUSE_SECONDS)
        return command_seconds([*bare, *place, "sh", "-ec", script])

    baseline()
    ours, more, theirs = bench.alternate(bench.choose(9, 1), first, changed, baseline)
    samples = {"ci submit test": ours, "one package more": more, "docker run": theirs}
    return [
        Figure("÷ docker run", ratio(ours, theirs), target=at_most(1.15, 1.0), samples=samples),
        Figure("one package more ÷ cold", ratio(more, ours), target=at_most(0.6)),
        Figure("ci submit test", spread(ours), "s"),
        Figure("one package more", spread(more), "s"),
        Figure("docker run", spread(theirs), "s"),
    ]


def client_start(bench: Bench) -> list[Figure]:
    """What the command costs by itself."""
    environ = dict(bench.standard.installation.client_environ)

    def run(*argv: str) -> float:
        return command_seconds(argv, environ)

    measures = (
        lambda: run(command("ci"), "--help"),
        lambda: run(command("ci"), "list"),
        lambda: command_seconds((sys.executable, "-c", "pass"), clean_environ()),
    )
    for measure in measures:
        measure()
    shown, listed, nothing = bench.alternate(bench.choose(25, 7), *measures, uses_engine=False)
    samples = {"ci --help": shown, "ci list": listed, "python -c pass": nothing}
    return [
        Figure("ci --help ÷ python", ratio(shown, nothing), target=at_most(4), samples=samples),
        Figure("ci list ÷ python", ratio(listed, nothing), target=at_most(8)),
        Figure("python -c pass", spread([1000 * seconds for seconds in nothing]), "ms"),
    ]
