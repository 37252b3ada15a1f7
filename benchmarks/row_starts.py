"""Rows about how soon, and how often, the platform starts containers beside what the engine can do."""

import statistics
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


@dataclass(frozen=True, slots=True)
class _Begin:
    """When a container came to run under a job's name, by the engine's clock."""

    seconds: float
    started_ahead: bool
    """It ran before, and was given the name then."""


@dataclass(slots=True)
class _Begins:
    """What the engine has told of."""

    found: dict[str, _Begin] = field(default_factory=dict[str, _Begin])

    def note(self, event: Json) -> None:
        """Take in a start or a change of name."""
        attributes = cast("Json", cast("Json", event["Actor"])["Attributes"])
        name = str(attributes["name"]).lstrip("/")
        seconds = int(str(event["timeNano"])) / 1e9
        self.found[name] = _Begin(seconds, started_ahead=event["Action"] == "rename")

    def wait(self, name: str) -> _Begin:
        """That of container `name`."""
        deadline = time.monotonic() + _EVENT_SECONDS
        while name not in self.found:
            if time.monotonic() > deadline:
                raise EngineFault(f"the engine told of no start of {name}")
            time.sleep(_LOOK_SECONDS)
        return self.found[name]


def start_delay(bench: Bench) -> list[Figure]:
    """From the job's row in the database to its running container, without the engine's part of it.

    The engine's part is the median time that it takes by itself for a container like the job's own, one of
    which is started after each job. From a container that ran already nothing is taken off.
    """
    ground = bench.standard
    archive, api = archive_of(bench.small_project), Api(ground.installation)
    api.wait(api.submit(archive, "-q"))
    started_ahead: list[bool] = []
    bound: list[float] = []
    with _told_begins(bench) as begins:

        def job() -> float:
            job_id = api.submit(archive, "-q")
            done = api.wait(job_id)
            submitted = _moment(done["submit_time"])
            begin = begins.wait(f"ci-job-{job_id}")
            started_ahead.append(begin.started_ahead)
            bound.append(_moment(done["start_time"]) - submitted)
            return begin.seconds - submitted

        waited, alone = bench.alternate(
            bench.choose(50, 6), job, lambda: _engine_start_seconds(bench, ground)
        )
    own = statistics.median(alone)
    rest = [
        1000 * (seconds - (0 if ahead else own)) for seconds, ahead in zip(waited, started_ahead, strict=True)
    ]
    samples = {"queued to started": waited, "start by the engine alone": alone, "queued to bound": bound}
    jitter = 1000 * (percentile(alone, 99) - own)
    return [
        Figure("p50 without the engine", _exactly(percentile(rest, 50)), "ms", at_most(30), samples),
        Figure("p99 without the engine", _exactly(percentile(rest, 99)), "ms", at_most(120)),
        Figure("queued to started", spread(_milliseconds(waited)), "ms"),
        Figure("queued to bound", spread(_milliseconds(bound)), "ms"),
        Figure("start by the engine alone", spread(_milliseconds(alone)), "ms"),
        Figure("its p99 above its median", _exactly(jitter), "ms"),
        Figure("started ahead", _exactly(100 * sum(started_ahead) / len(started_ahead)), "% of the jobs"),
    ]


def _exactly(value: float) -> Spread:
    return Spread(value, value, value)


def _milliseconds(seconds: list[float]) -> list[float]:
    return [1000 * each for each in seconds]


def _moment(text: object) -> float:
    return datetime.fromisoformat(str(text)).timestamp()


@contextmanager
def _told_begins(bench: Bench) -> Generator[_Begins]:
    begins, caller = _Begins(), bench.engine.caller(timeout=None)
    events = bench.engine.events(caller)

    def listen() -> None:
        for event in events:
            begins.note(event)

    listener = threading.Thread(target=listen, name="engine events")
    listener.start()
    try:
        yield begins
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
    """Trivial jobs a second beside containers a second of the engine alone; both eight at a time.

    The engine's containers run `true`. A job can't: two interpreters start in it, the runner's and pytest's.
    So beside it stand containers like a job's, in which the two do nothing: the most that the engine lets
    jobs reach on this machine.
    """
    count = bench.choose(40, 16)
    project = sample_projects.trivial(bench.new_folder("trivial"))
    with bench.ground(CI_MAX_CONCURRENT_JOBS=str(_THREADS)) as ground:
        archive, network = archive_of(project), ground.network
        _jobs_a_second(ground.installation, archive, 2)
        trivial = {"Image": bench.base_image, "Cmd": ["true"], "HostConfig": {"NetworkMode": network}}
        alike = {
            "Image": ground.image,
            "Entrypoint": ["sh", "-c", "python3 -I -S -c pass && exec python3 -c pass"],
            "User": "0:0",
            "HostConfig": ground.host_config,
        }
        ours, theirs, most = bench.alternate(
            bench.choose(3, 1),
            lambda: _jobs_a_second(ground.installation, archive, count),
            lambda: _containers_a_second(bench, trivial, count),
            lambda: _containers_a_second(bench, alike, count),
        )
    samples = {"jobs a second": ours, "containers a second": theirs, "containers alike a second": most}
    return [
        Figure("÷ the engine's own", ratio(ours, theirs), target=at_least(0.9), samples=samples),
        Figure("÷ containers with two interpreters", ratio(ours, most)),
        Figure("jobs", spread(ours), "/s"),
        Figure("containers", spread(theirs), "/s"),
        Figure("containers with two interpreters", spread(most), "/s"),
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


def _containers_a_second(bench: Bench, config: Json, count: int) -> float:
    def one(_: int) -> None:
        caller = bench.engine.caller()
        container = caller.create({**config, "Labels": bench.engine.labels()})
        caller.call("POST", f"/containers/{container}/start")
        caller.call("POST", f"/containers/{container}/wait")
        caller.call("DELETE", f"/containers/{container}")

    began = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(one, range(count)))
    return count / (time.monotonic() - began)
