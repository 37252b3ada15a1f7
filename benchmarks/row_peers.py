"""The row about the peer: Buildbot does the same job on the same machine in the same minutes."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import sample_projects
from benchmarks.api import Api, archive_of
from benchmarks.bench import PYTEST, Bench, command_seconds
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.installation import Installation
from benchmarks.peer_buildbot import Buildbot, temporary_buildbot
from benchmarks.processes import resident_kib
from benchmarks.samples import ratio, spread

_FLOOD = "import sys\nfor n in range({lines}): sys.stdout.write('%07d ' % n + 'x' * 71 + '\\n')"
_AHEAD = 1.5
"""A clear factor."""
_KIB_A_MIB = 1024
_SETTLE_SECONDS = 5.0
_THREADS = 8
_LOOK_SECONDS = 0.05


def buildbot(bench: Bench) -> list[Figure]:
    """Latency, throughput, log and memory, each beside ours."""
    lines = bench.choose(200_000, 50_000)
    flooding = sample_projects.flooding(bench.new_folder("flood"), lines)
    trivial = archive_of(sample_projects.trivial(bench.new_folder("trivial")))
    packed = bench.packed_image
    with bench.ground(CI_MAX_CONCURRENT_JOBS=str(_THREADS)) as ground:
        project = bench.copy_of(bench.small_project)
        test = bench.engine.run_command(
            *("--network", ground.network, "--volume", f"{project}:/workspace", "--workdir", "/workspace"),
            *(packed, "/v/bin/python", *PYTEST),
        )
        flood = _FLOOD.format(lines=lines)
        commands = {"test": test, "nothing": ["true"], "flood": [sys.executable, "-c", flood]}
        with temporary_buildbot(bench.new_folder("buildbot"), commands) as peer:
            bench.progress.tell(peer.version)
            time.sleep(_SETTLE_SECONDS)
            services = ground.installation.services
            ours_kib, theirs_kib = (
                [sum(map(resident_kib, pids)) / _KIB_A_MIB]
                for pids in ((services.controller_pid, services.server_pid), peer.pids)
            )
            return [
                *_latency(bench, ground.installation, peer, test),
                *_throughput(bench, ground.installation, peer, trivial),
                *_log(bench, ground.installation, peer, flooding, sample_projects.flood(lines)),
                Figure("memory, ours ÷ Buildbot", ratio(ours_kib, theirs_kib), target=at_most(1 / _AHEAD)),
                Figure("memory of Buildbot", spread(theirs_kib), "MiB"),
            ]


def _latency(bench: Bench, installation: Installation, peer: Buildbot, test: list[str]) -> list[Figure]:
    argv, environ = peer.try_command("test")

    def rest() -> float:
        started = time.monotonic()
        peer.build("test")
        return time.monotonic() - started

    measures = (
        lambda: bench.submit_seconds(installation, bench.small_project),
        rest,
        lambda: command_seconds(argv, environ),
        lambda: command_seconds(test),
    )
    for measure in measures:
        measure()
    ours, through_rest, through_try, alone = bench.alternate(bench.choose(9, 2), *measures)
    samples = {"ci": ours, "REST": through_rest, "try": through_try, "docker run": alone}
    return [
        Figure("submit, ours ÷ REST", ratio(ours, through_rest), target=at_most(1 / _AHEAD), samples=samples),
        Figure("submit, ours ÷ try --wait", ratio(ours, through_try), target=at_most(1 / _AHEAD)),
        Figure("Buildbot through REST", spread(through_rest), "s"),
        Figure("buildbot try --wait", spread(through_try), "s"),
        Figure("docker run", spread(alone), "s"),
    ]


def _throughput(bench: Bench, installation: Installation, peer: Buildbot, trivial: bytes) -> list[Figure]:
    count = bench.choose(40, 16)

    def ours() -> float:
        api = Api(installation)
        began = time.monotonic()
        for job_id in [api.submit(trivial) for _ in range(count)]:
            api.wait(job_id)
        return count / (time.monotonic() - began)

    def theirs() -> float:
        began = time.monotonic()
        with ThreadPoolExecutor(_THREADS) as pool:
            requests = list(pool.map(peer.request, ["nothing"] * count))
        for request in requests:
            peer.wait(request)
        return count / (time.monotonic() - began)

    jobs, builds = bench.alternate(bench.choose(3, 1), ours, theirs)
    samples = {"jobs a second": jobs, "builds a second": builds}
    target = at_least(_AHEAD)
    return [
        Figure("jobs a second, ours ÷ Buildbot", ratio(jobs, builds), target=target, samples=samples),
        Figure("Buildbot's builds", spread(builds), "/s"),
    ]


def _log(
    bench: Bench, installation: Installation, peer: Buildbot, project: Path, expected: bytes
) -> list[Figure]:
    lines = expected.count(b"\n")

    def ours() -> float:
        return lines / bench.submit_seconds(installation, project, "-s")

    def theirs() -> float:
        began = time.monotonic()
        request = peer.request("flood")
        peer.wait(request)
        # The build is over before its log is: it is read until it is whole.
        while peer.log_of(request).count(b"x" * 71) < lines:
            time.sleep(_LOOK_SECONDS)
        return lines / (time.monotonic() - began)

    here, there = bench.alternate(bench.choose(3, 1), ours, theirs)
    samples = {"ci submit test": here, "Buildbot": there}
    return [
        Figure(
            "log lines a second, ours ÷ Buildbot",
            ratio(here, there),
            target=at_least(_AHEAD),
            samples=samples,
        ),
        Figure("Buildbot's log lines", spread(there), "/s"),
    ]
