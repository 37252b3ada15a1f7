"""Rows about what lies in the database: a long history, and a long queue."""

import asyncio
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

from benchmarks import filling, sample_projects
from benchmarks.api import Api, archive_of
from benchmarks.bench import Bench, Ground, command_seconds
from benchmarks.figures import Figure, at_most
from benchmarks.installation import Installation, command
from benchmarks.processes import cpu_seconds
from benchmarks.samples import ratio, spread
from ci_controller.container_manager import ContainerManager
from ci_persistence.sqlite_repository import SQLiteJobRepository

_EVENTS_A_JOB = 5
_ONE_PAGE = 100
_CAPACITY = 2
_SLEEP_SECONDS = 3000.0
_PASSES_A_SAMPLE = 50
_SETTLE_SECONDS = 3.0


def history(bench: Bench) -> list[Figure]:
    """The same work on a database that is full of finished jobs and on an empty one, both side by side.

    Empty but for as many jobs as `ci list` shows: what it prints must be the same in both.
    """
    count, rounds = bench.choose(1_000_000, 50_000), bench.choose(11, 3)
    archive = archive_of(bench.small_project)
    with bench.ground() as empty, bench.ground() as full:
        for installation, jobs in ((empty.installation, _ONE_PAGE), (full.installation, count)):
            api = Api(installation)
            job_id = api.submit(archive, "-q")
            api.wait(job_id)
            filling.add_copies(installation.database, job_id, jobs, bench.progress.tell, _EVENTS_A_JOB)
        time.sleep(_SETTLE_SECONDS)
        measures = [
            _bound(kind, ground.installation) for kind in _measures(bench) for ground in (full, empty)
        ]
        for measure in measures:
            measure()
        found = bench.alternate(rounds, *measures)
    names = ("ci submit test", "ci list", "reconcile pass")
    figures: list[Figure] = []
    for name, ours, theirs in zip(names, found[::2], found[1::2], strict=True):
        samples = {"full": ours, "empty": theirs}
        figures.append(Figure(f"{name} ÷ empty", ratio(ours, theirs), target=at_most(1.2), samples=samples))
        figures.append(Figure(f"{name}, full", spread([1000 * seconds for seconds in ours]), "ms"))
    return figures


def _measures(bench: Bench) -> tuple[Callable[[Installation], float], ...]:
    return (
        lambda installation: bench.submit_seconds(installation, bench.small_project),
        lambda installation: command_seconds((command("ci"), "list"), dict(installation.client_environ)),
        pass_seconds,
    )


def _bound(kind: Callable[[Installation], float], installation: Installation) -> Callable[[], float]:
    return lambda: kind(installation)


def pass_seconds(installation: Installation) -> float:
    """The median time of what the controller reads in one full listing, of database and engine."""
    return asyncio.run(_pass_seconds(installation))


async def _pass_seconds(installation: Installation) -> float:
    repository = SQLiteJobRepository(installation.database)
    await repository.initialize()
    try:
        async with ContainerManager(await repository.instance_id()) as manager:
            await _list(repository, manager)
            passes: list[float] = []
            for _ in range(_PASSES_A_SAMPLE):
                began = time.monotonic()
                await _list(repository, manager)
                passes.append(time.monotonic() - began)
            return statistics.median(passes)
    finally:
        await repository.close()


async def _list(repository: SQLiteJobRepository, manager: ContainerManager) -> None:
    await repository.running_jobs()
    await repository.queued_jobs(2 * _CAPACITY)
    views = await manager.list()
    await repository.running_jobs()
    await repository.jobs_by_id([view.job_id for view in views if view.job_id is not None])
    await repository.running_jobs()
    await repository.list_environments()


def backlog(bench: Bench) -> list[Figure]:
    """A controller whose only place is taken, and many jobs that wait for it."""
    count, seconds = bench.choose(10_000, 10_000), bench.choose(20, 6)
    with bench.ground(CI_MAX_CONCURRENT_JOBS="1") as ground, _place_taken(bench, ground):
        installation = ground.installation
        api = Api(installation)
        job_id = api.submit(archive_of(bench.small_project), "-q")
        filling.add_copies(installation.database, job_id, count, bench.progress.tell)
        try:
            time.sleep(_SETTLE_SECONDS)
            controller = installation.services.controller_pid
            before = cpu_seconds(controller)
            time.sleep(seconds)
            percent = 100 * (cpu_seconds(controller) - before) / seconds
            passes = [1000 * pass_seconds(installation) for _ in range(bench.choose(7, 3))]
            everything = [1000 * asyncio.run(_read_queue_seconds(installation, count)) for _ in range(3)]
        finally:
            filling.remove_queued(installation.database)
    return [
        Figure("controller", spread([percent]), "% of a core", at_most(2)),
        Figure("one full listing", spread(passes), "ms", at_most(100)),
        Figure(f"reading all {count} rows", spread(everything), "ms"),
    ]


@contextmanager
def _place_taken(bench: Bench, ground: Ground) -> Generator[None]:
    api = Api(ground.installation)
    job_id = api.submit(archive_of(sample_projects.sleeping(bench.new_folder("sleeping"), _SLEEP_SECONDS)))
    try:
        bench.wait_for_container(job_id)
        yield
    finally:
        api.cancel(job_id)


async def _read_queue_seconds(installation: Installation, count: int) -> float:
    repository = SQLiteJobRepository(installation.database)
    await repository.initialize()
    try:
        began = time.monotonic()
        found = await repository.queued_jobs(count)
        assert len(found) == count, "all of them wait"
        return time.monotonic() - began
    finally:
        await repository.close()
