"""Rows about how soon, and how often, the platform starts containers beside what the engine can do."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from benchmarks import sample_projects
from benchmarks.api import Api, archive_of
from benchmarks.bench import Bench, Ground
from benchmarks.engine import EngineFault, Json
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.installation import Installation
from benchmarks.samples import Spread, percentile, ratio, spread

_THREADS = 8
_EVENT_SECONDS = 10.0
_LOOK_SECONDS = 0.01


@dataclass(slots=True)
class _Starts:
    """When containers came to run under their names, by the engine's clock."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])

    def note(self, event: Json) -> None:
        """A container that was started ahead counts from when it gets the job's name."""
        attributes = cast("Json", cast("Json", event["Actor"])["Attributes"])
        name = str(attributes["name"]).lstrip("/")
        self.seconds[name] = int(str(event["timeNano"])) / 1e9

    def wait(self, name: str) -> float:
        """The moment at which container `name` began."""
        deadline = time.monotonic() + _EVENT_SECONDS
        while name not in self.seconds:
            if time.monotonic() > deadline:
                raise EngineFault(f"the engine told of no start of {name}")
            time.sleep(_LOOK_SECONDS)
        return self.seconds[name]


def start_delay(bench: Bench) -> list[Figure]:
    """From the job's row in the database to its running container, without the engine's part of it.

    The engine's part is that of a container like the job's own, started by nothing but the engine between
    two jobs; its percentiles are taken off those of the jobs. Of containers started ahead nothing is.
    """
    ground = bench.standard
    archive, api = archive_of(bench.small_project), Api(ground.installation)
    api.wait(api.submit(archive, "-q"))
    with _engine_starts(bench) as starts:
        delays: list[float] = []
        decided: list[float] = []

        def job() -> float:
            job_id = api.submit(archive, "-q")
            done = api.wait(job_id)
            submitted, bound = (_moment(done[name]) for name in ("submit_time", "start_time"))
            delays.append(starts.wait(f"ci-job-{job_id}") - submitted)
            decided.append(bound - submitted)
            return delays[-1]

        _, alone = bench.alternate(bench.choose(50, 8), job, lambda: _engine_start_seconds(bench, ground))
    samples = {"queued to started": delays, "start by the engine alone": alone, "queued to bound": decided}
    waited = [1000 * seconds for seconds in delays]
    own = [1000 * seconds for seconds in alone]
    return [
        _difference("p50 without the engine", waited, own, 50, 30, samples),
        _difference("p99 without the engine", waited, own, 99, 120, {}),
        Figure("queued to started", spread(waited), "ms"),
        Figure("start by the engine alone", spread(own), "ms"),
        Figure("queued to bound", spread([1000 * seconds for seconds in decided]), "ms"),
    ]


def _difference(
    name: str,
    waited: list[float],
    own: list[float],
    percent: float,
    limit: float,
    samples: dict[str, list[float]],
) -> Figure:
    value = percentile(waited, percent) - percentile(own, percent)
    return Figure(name, Spread(value, value, value), "ms", at_most(limit), samples)


def _moment(text: object) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


@contextmanager
def _engine_starts(bench: Bench) -> Generator[_Starts]:
    starts, caller = _Starts(), bench.engine.caller(timeout=None)
    events = bench.engine.events(caller)

    def listen() -> None:
        for event in events:
            starts.note(event)

    listener = threading.Thread(target=listen, name="engine events")
    listener.start()
    try:
        yield starts
    finally:
        caller.close()
        listener.join()


def _engine_start_seconds(bench: Bench, ground: Ground) -> float:
    caller = bench.engine.caller()
    container = caller.create(
        {
            "Image": ground.image,
            "Entrypoint": ["sleep", "60"],
            "User": "0:0",
            "Labels": bench.engine.labels(),
            "HostConfig": ground.host_config,
        }
    )
    try:
        started = time.monotonic()
        caller.call("POST", f"/containers/{container}/start")
        return time.monotonic() - started
    finally:
        caller.call("DELETE", f"/containers/{container}?force=1")


def throughput(bench: Bench) -> list[Figure]:
    """Trivial jobs a second beside containers a second of the engine alone; both eight at a time."""
    count = bench.choose(40, 16)
    project = sample_projects.trivial(bench.new_folder("trivial"))
    with bench.ground(CI_MAX_CONCURRENT_JOBS=str(_THREADS)) as ground:
        archive, network = archive_of(project), ground.network
        _jobs_a_second(ground.installation, archive, 2)
        ours, theirs = bench.alternate(
            bench.choose(3, 1),
            lambda: _jobs_a_second(ground.installation, archive, count),
            lambda: _containers_a_second(bench, network, count),
        )
    samples = {"jobs a second": ours, "containers a second": theirs}
    return [
        Figure("÷ the engine's own", ratio(ours, theirs), target=at_least(0.9), samples=samples),
        Figure("jobs", spread(ours), "/s"),
        Figure("containers", spread(theirs), "/s"),
    ]


def _jobs_a_second(installation: Installation, archive: bytes, count: int) -> float:
    api = Api(installation)
    began = time.monotonic()
    job_ids = [api.submit(archive) for _ in range(count)]
    for job_id in job_ids:
        job = api.wait(job_id)
        if job["outcome"] != "passed":
            raise RuntimeError(f"a trivial job did not pass: {job}")
    return count / (time.monotonic() - began)


def _containers_a_second(bench: Bench, network: str, count: int) -> float:
    image = bench.base_image

    def one(_: int) -> None:
        caller = bench.engine.caller()
        container = caller.create(
            {
                "Image": image,
                "Cmd": ["true"],
                "Labels": bench.engine.labels(),
                "HostConfig": {"NetworkMode": network},
            }
        )
        caller.call("POST", f"/containers/{container}/start")
        caller.call("POST", f"/containers/{container}/wait")
        caller.call("DELETE", f"/containers/{container}")

    began = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, range(count)))
    return count / (time.monotonic() - began)
