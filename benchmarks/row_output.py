"""Rows about output on its way from the container to the client's stdout."""

import os
import re
import subprocess
import time
from collections.abc import Sequence

from benchmarks import sample_projects
from benchmarks.bench import Bench, command_seconds
from benchmarks.figures import Figure, Target, at_most
from benchmarks.installation import command
from benchmarks.samples import percentile, ratio, spread

_PAUSE_SECONDS = 0.02
_PIECE_BYTES = 1 << 16
_TICK = re.compile(rb"@(\d+) \d+\n")


def line_latency(bench: Bench) -> list[Figure]:
    """Lines that come one at a time: from the container's clock at printing to their arrival here."""
    lines = bench.choose(200, 100)
    project = sample_projects.ticking(bench.new_folder("ticking"), lines, _PAUSE_SECONDS)
    environ = dict(bench.standard.installation.client_environ)
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    for number in range(bench.choose(5, 1)):
        submit = [command("ci"), "submit", "test", str(project), "--", "-q", "-s"]
        ours.append(_latencies(submit, environ, lines))
        theirs.append(_latencies(bench.packed_command(project, "-s"), dict(os.environ), lines))
        bench.progress.tell(f"run {number + 1}: p50 {percentile(ours[-1], 50):.2f} ms")
    return [
        _latency_figure("p50", ours, 50, at_most(3)),
        _latency_figure("p99", ours, 99, at_most(20)),
        _latency_figure("docker run p50", theirs, 50),
        _latency_figure("docker run p99", theirs, 99),
    ]


def _latency_figure(
    name: str, runs: Sequence[Sequence[float]], percent: float, target: Target | None = None
) -> Figure:
    values = [percentile(run, percent) for run in runs]
    return Figure(name, spread(values), "ms", target, {"each run": values})


def _latencies(argv: Sequence[str], environ: dict[str, str], lines: int) -> list[float]:
    """Milliseconds from printing to arrival of each line."""
    process = subprocess.Popen(
        argv,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None, "it is a pipe"
    latencies: list[float] = []
    rest = b""
    with process, process.stdout as output:
        while piece := os.read(output.fileno(), _PIECE_BYTES):
            now_ns = time.monotonic_ns()
            rest += piece
            found = list(_TICK.finditer(rest))
            latencies += [(now_ns - int(tick[1])) / 1e6 for tick in found]
            rest = rest[found[-1].end() :] if found else rest
    if process.returncode != 0 or len(latencies) != lines:
        raise RuntimeError(f"{argv[0]}: exit code {process.returncode}, {len(latencies)} of {lines} lines")
    return latencies


def log_throughput(bench: Bench) -> list[Figure]:
    """A flood of lines through the platform beside `docker run` to a pipe; both must bring each byte."""
    lines = bench.choose(200_000, 50_000)
    project = sample_projects.flooding(bench.new_folder("flood"), lines)
    expected = sample_projects.flood(lines)
    environ = dict(bench.standard.installation.client_environ)

    def submit() -> float:
        argv = [command("ci"), "submit", "test", str(project), "--", "-q", "-s"]
        return _exact_seconds(argv, environ, expected)

    def run() -> float:
        return _exact_seconds(bench.packed_command(project, "-s"), dict(os.environ), expected)

    command_seconds(bench.packed_command(bench.small_project))
    ours, theirs = bench.alternate(bench.choose(7, 2), submit, run)
    samples = {"ci submit test": ours, "docker run": theirs}
    return [
        Figure("÷ docker run", ratio(ours, theirs), target=at_most(1.0, 0.8), samples=samples),
        Figure("ci submit test", spread(ours), "s"),
        Figure("docker run", spread(theirs), "s"),
    ]


def _exact_seconds(argv: Sequence[str], environ: dict[str, str], expected: bytes) -> float:
    started = time.monotonic()
    done = subprocess.run(
        argv,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    seconds = time.monotonic() - started
    if done.returncode != 0 or done.stdout.count(expected) != 1:
        raise RuntimeError(
            f"{argv[0]}: exit code {done.returncode}, {len(done.stdout)} bytes that do not hold the "
            f"{len(expected)} that were printed"
        )
    return seconds
