"""All rows of the table: first those that share one installation, then those that need their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import (
    row_history,
    row_idle,
    row_output,
    row_peers,
    row_starts,
    row_submissions,
    row_uploads,
    row_watchers,
)
from benchmarks.bench import Bench
from benchmarks.figures import Figure


@dataclass(frozen=True, slots=True)
class Row:
    """One row: several figures that are measured together."""

    name: str
    title: str
    measure: Callable[[Bench], Sequence[Figure]]
    quick: bool = True
    """A quick run has it even if it isn't asked for by name."""


ROWS = (
    Row(
        "warm",
        "wall of `ci submit test` on a small project, its environment cached, beside `docker run` of an "
        "image that has the packages, both with `pytest -q`",
        row_submissions.warm,
    ),
    Row(
        "cold",
        "wall with an empty environment cache (a new user's) beside `docker run` that makes a venv, installs "
        "with uv and compiles bytecode; and with one package added to `requirements.txt` then; each 8 s "
        "after the one before",
        row_submissions.cold,
    ),
    Row(
        "start",
        "from a job's row in the database to its running container, the engine's own start taken off",
        row_starts.start_delay,
    ),
    Row(
        "latency",
        "from printing in the container to arrival from the client, lines 20 ms apart; percentiles of each "
        "run, their median over the runs",
        row_output.line_latency,
    ),
    Row(
        "log",
        "a flood of lines of 80 bytes through `ci submit test` beside `docker run` to a pipe, compared byte "
        "for byte",
        row_output.log_throughput,
    ),
    Row(
        "client",
        "wall of `ci --help` and `ci list` beside `python -c pass` of the same interpreter",
        row_submissions.client_start,
    ),
    Row(
        "watchers",
        "many event streams on one job that prints 100 lines a second, one replica",
        row_watchers.watchers,
    ),
    Row(
        "throughput",
        "trivial jobs with CI_MAX_CONCURRENT_JOBS=8 beside the engine's own create, start, wait, remove with "
        "8 threads on a network of the same kind",
        row_starts.throughput,
    ),
    Row(
        "history",
        "1,000,000 finished jobs and 5,000,000 events in the database beside an empty one",
        row_history.history,
        quick=False,
    ),
    Row(
        "backlog",
        "10,000 queued jobs that can't start, because a sleeping job has the only place",
        row_history.backlog,
        quick=False,
    ),
    Row(
        "upload",
        "1 GiB of 20,000 files sent with `ci submit test --async` beside `zip -1` and one copy of the "
        "archive; and sent again after one file has changed",
        row_uploads.upload,
        quick=False,
    ),
    Row("idle", "controller and one server that have nothing to do", row_idle.idle),
)
PEERS = Row(
    "buildbot",
    "Buildbot with SQLite and one worker, which has the same job done by `docker run`; its trivial build is "
    "`true` without any container, its log a process's on the host",
    row_peers.buildbot,
)
