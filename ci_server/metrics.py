"""Figures for Prometheus: what concerns all replicas is read from the database at each scrape.

So it is the same whichever replica is asked, and nothing has to be added up. Only what concerns one
replica (its open streams, its answers) is counted in the process.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from ci_common.clock import utc_now
from ci_common.models import JobStatus
from ci_common.repository import JobRepository
from ci_server.waiting import ControllerWatch


class ReplicaMetrics:
    """What this process counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._submissions = Counter(
            "ci_submissions", "Submissions that this replica accepted.", registry=self._registry
        )
        self._refusals = Counter(
            "ci_submissions_refused",
            "Submissions that this replica refused, by status.",
            ["status"],
            registry=self._registry,
        )
        self._streams = Gauge(
            "ci_event_streams", "Event streams open on this replica.", registry=self._registry
        )

    def count_streams(self, count: Callable[[], float]) -> None:
        """Where the number of open streams comes from."""
        self._streams.set_function(count)

    def accepted(self) -> None:
        """A submission became a job."""
        self._submissions.inc()

    def refused(self, status: int) -> None:
        """A submission was refused."""
        self._refusals.labels(str(status)).inc()

    def exposition(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self._registry)


async def installation_metrics(jobs: JobRepository, controller: ControllerWatch) -> bytes:
    """What concerns the whole installation, read now."""
    registry = CollectorRegistry()
    counts = await jobs.queue_counts()
    by_status = Gauge("ci_jobs", "Unfinished jobs by status.", ["status"], registry=registry)
    by_status.labels(JobStatus.QUEUED.value).set(counts.queued)
    by_status.labels(JobStatus.RUNNING.value).set(counts.running)
    view = await controller.view()
    alive = Gauge("ci_controller_alive", "1 while a controller's beat moves.", registry=registry)
    alive.set(float(view.is_alive))
    lease = await jobs.lease()
    if lease is not None:
        age = Gauge("ci_controller_beat_age_seconds", "Time since the controller's beat.", registry=registry)
        age.set(max(0.0, (utc_now() - lease.beat_time).total_seconds()))
        state = Gauge("ci_controller_state", "1 for the controller's state.", ["state"], registry=registry)
        state.labels(lease.state.value).set(1)
    return generate_latest(registry)


def readiness_metric(*, is_ready: bool) -> bytes:
    """Whether this replica can use its database."""
    registry = CollectorRegistry()
    Gauge("ci_replica_ready", "1 while this replica can use its database.", registry=registry).set(
        float(is_ready)
    )
    return generate_latest(registry)
