"""The row about many watchers of one job on one replica."""

import json
import subprocess
import sys
import time
from contextlib import closing
from urllib.parse import urlsplit

from benchmarks import sample_projects
from benchmarks.api import Api, archive_of
from benchmarks.bench import Bench
from benchmarks.figures import Figure, at_most
from benchmarks.installation import Installation, clean_environ
from benchmarks.processes import cpu_seconds, resident_kib
from benchmarks.samples import Spread, spread

_PAUSE_SECONDS = 0.01
_MANY_LINES = 1_000_000
_SETTLE_SECONDS = 2.0


def watchers(bench: Bench) -> list[Figure]:
    """A job that prints 100 lines a second, and readers that all follow it."""
    streams, seconds = bench.choose(500, 200), bench.choose(15, 6)
    project = sample_projects.ticking(bench.new_folder("watched"), _MANY_LINES, _PAUSE_SECONDS)
    with bench.roomy_ground() as ground:
        api = Api(ground.installation)
        with closing(_Load(ground.installation, api.submit(archive_of(project), "-q", "-s"), api)) as load:
            bench.wait_for_container(load.job_id)
            load.run(1, _SETTLE_SECONDS)  # what the first stream loads is not a stream's own
            time.sleep(_SETTLE_SECONDS)
            server = ground.installation.services.server_pid
            before_kib, before_cpu = resident_kib(server), cpu_seconds(server)
            found = load.run(streams, seconds)
            used_cpu = cpu_seconds(server) - before_cpu
    if found["open_still"] < streams or not found["lines"]:
        raise RuntimeError(f"of {streams} streams {found['open_still']:g} stayed open: {found}")
    late, kib = found["p99_ms"], (found["resident_kib"] - before_kib) / streams
    return [
        Figure(f"p99 of {streams} streams", spread([late]), "ms", at_most(500), {"found": [*found.values()]}),
        Figure("memory a stream", spread([kib]), "KiB", at_most(60)),
        Figure("p50", spread([found["p50_ms"]]), "ms"),
        Figure("lines received", spread([found["lines"] / seconds]), "/s"),
        Figure("server's processor time", Spread(used_cpu, used_cpu, used_cpu), "s"),
    ]


class _Load:
    """The readers' process, and the job that they read."""

    def __init__(self, installation: Installation, job_id: str, api: Api) -> None:
        self._installation = installation
        self._api = api
        self.job_id = job_id

    def run(self, streams: int, seconds: float) -> dict[str, float]:
        """Let so many read for so long; what they found, and the server's memory with all of them open."""
        address = urlsplit(self._installation.address)
        arguments = (str(address.hostname), str(address.port), self.job_id, str(streams), str(seconds))
        server = self._installation.services.server_pid
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sse_load", *arguments],
            env=clean_environ(CI_API_KEY=self._installation.key),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        try:
            if (process.stdout.readline(), process.stdout.readline()) != (b"open\n", b"read\n"):
                raise RuntimeError(f"the readers of {streams} streams did not come up")
            resident = resident_kib(server)
            process.stdin.write(b"\n")
            process.stdin.flush()
            found: dict[str, float] = json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait()
        return found | {"resident_kib": resident}

    def close(self) -> None:
        """End the job."""
        self._api.cancel(self.job_id)
