"""The row about an installation that has nothing to do."""

import time

from benchmarks.bench import Bench
from benchmarks.figures import Figure, at_most
from benchmarks.processes import cpu_seconds, proportional_kib, resident_kib
from benchmarks.samples import spread

_KIB_A_MIB = 1024
_SETTLE_SECONDS = 5.0


def idle(bench: Bench) -> list[Figure]:
    """Controller and one server, after a few jobs and a pause."""
    seconds = bench.choose(30, 6)
    with bench.ground() as ground:
        services = ground.installation.services
        pids = (services.controller_pid, services.server_pid)
        time.sleep(_SETTLE_SECONDS)
        before = sum(map(cpu_seconds, pids))
        time.sleep(seconds)
        percent = 100 * (sum(map(cpu_seconds, pids)) - before) / seconds
        controller, server = (resident_kib(pid) / _KIB_A_MIB for pid in pids)
        proportional = sum(map(proportional_kib, pids)) / _KIB_A_MIB
    return [
        Figure("processor", spread([percent]), "% of a core", at_most(0.5)),
        Figure("resident memory", spread([controller + server]), "MiB", at_most(150)),
        Figure("of the controller", spread([controller]), "MiB"),
        Figure("of the server", spread([server]), "MiB"),
        Figure("shared pages counted once", spread([proportional]), "MiB"),
    ]
