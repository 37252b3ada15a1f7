"""When each phase of a job began and ended: the moments that are noted, and the phases between them.

Every process that works on a job notes moments with a `Stopwatch` of its own, which asks the wall clock
once and counts on from there by a monotonic clock: the difference of two of its moments is a true
duration, whatever happened to the wall clock between. Moments of different processes, or of the
database's own times, are compared by wall clock alone.

Nothing here decides anything. What is missing is left out, and a moment that can't be (a phase that ends
before it begins) makes a phase of no length.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from ci_common.clock import utc_now


class Milestone(StrEnum):
    """A moment in a job's life, in the usual order; the client's own are never stored."""

    CLIENT_STARTED = "client_started"
    PACKING_BEGAN = "packing_began"
    PACKED = "packed"
    SENDING_BEGAN = "sending_began"
    """Of the first try."""
    RECEIVED = "received"
    """The server has the submission's headers."""
    UPLOADED = "uploaded"
    """… and all of its body."""
    CHECKED = "checked"
    STORED = "stored"
    """The job stands in the transaction that makes it; the commit follows."""
    ACCEPTED = "accepted"
    """The client knows that the job exists."""
    FOLLOWING = "following"
    """The client's stream of events is open."""
    ADMITTED = "admitted"
    """The controller has seen the job and has a place for it."""
    PLANNED = "planned"
    """Its archive has been read for what it needs."""
    INSTALLER_BOUND = "installer_bound"
    """The container that installs for it is the job's."""
    INSTALLER_STARTED = "installer_started"
    INSTALLER_FED = "installer_fed"
    INSTALL_BEGAN = "install_began"
    """As all that the runner notes, in whichever container."""
    INSTALL_ENDED = "install_ended"
    INSTALLER_ENDED = "installer_ended"
    """The controller has its last word; what was installed is about to be entered into the cache."""
    BOUND = "bound"
    """The container that tests is the job's."""
    STARTED = "started"
    """The engine has started it; missing where it ran before it was the job's."""
    RUNNER_READY = "runner_ready"
    FEEDING_BEGAN = "feeding_began"
    """The runner has its orders; the files follow."""
    FED = "fed"
    """The runner has said that it holds all files."""
    SETUP_BEGAN = "setup_began"
    """What is installed anew in each job, in the container that tests."""
    SETUP_ENDED = "setup_ended"
    TESTS_BEGAN = "tests_began"
    FIRST_OUTPUT = "first_output"
    """The first of the tests' output is about to be stored."""
    OUTPUT_SHOWN = "output_shown"
    """The client has the first of it."""
    TESTS_ENDED = "tests_ended"
    RESULT_SEEN = "result_seen"
    """The controller has the runner's last word."""
    COMPLETED = "completed"
    """The job's `end_time`."""
    END_SHOWN = "end_shown"
    """The client has the last event."""


@dataclass(frozen=True, slots=True)
class JobTimes:
    """The moments that are known, each aware and in UTC."""

    moments: Mapping[Milestone, datetime] = field(default_factory=lambda: MappingProxyType({}))

    def with_later(self, later: "JobTimes") -> "JobTimes":
        """Both; what is known already stands, so that a look after a crash can't put off what was seen."""
        return JobTimes(MappingProxyType({**later.moments, **self.moments}))

    def with_moment(self, milestone: Milestone, moment: datetime | None) -> "JobTimes":
        """One more, where there is one."""
        return self if moment is None else self.with_later(JobTimes({milestone: moment}))

    def of_submission(self) -> "JobTimes":
        """What stays when another attempt begins."""
        return JobTimes({name: self.moments[name] for name in _SUBMISSION if name in self.moments})

    def shifted(self, by: timedelta) -> "JobTimes":
        """The same by a clock that is ahead of theirs."""
        return JobTimes({name: moment + by for name, moment in self.moments.items()})


_SUBMISSION = (Milestone.RECEIVED, Milestone.UPLOADED, Milestone.CHECKED, Milestone.STORED)

NO_TIMES = JobTimes()


class Stopwatch:
    """One process's moments of one job."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._clock = clock
        self._zero = now()
        self._zero_seconds = clock()
        self._moments: dict[Milestone, datetime] = {}

    def now(self) -> datetime:
        """The present moment."""
        return self._zero + timedelta(seconds=self._clock() - self._zero_seconds)

    def mark(self, milestone: Milestone, moment: datetime | None = None) -> None:
        """Note it, now unless told; the first time stands."""
        if milestone not in self._moments:
            self._moments[milestone] = self.now() if moment is None else moment

    def moment(self, milestone: Milestone) -> datetime | None:
        """What was noted."""
        return self._moments.get(milestone)

    @property
    def times(self) -> JobTimes:
        """All that was noted so far."""
        return JobTimes(MappingProxyType(dict(self._moments)))


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """One phase and how long it took."""

    name: str
    begin: datetime
    seconds: float


_M = Milestone
_PHASES: Sequence[tuple[str, tuple[Milestone, ...], Milestone]] = (
    ("client: start", (_M.CLIENT_STARTED,), _M.PACKING_BEGAN),
    ("client: pack", (_M.PACKING_BEGAN,), _M.PACKED),
    ("client: check key", (_M.PACKED,), _M.SENDING_BEGAN),
    ("client: submit", (_M.SENDING_BEGAN,), _M.ACCEPTED),
    ("server: receive", (_M.RECEIVED,), _M.UPLOADED),
    ("server: check archive", (_M.UPLOADED,), _M.CHECKED),
    ("server: store", (_M.CHECKED,), _M.STORED),
    ("client: open stream", (_M.ACCEPTED,), _M.FOLLOWING),
    ("queue", (_M.STORED,), _M.ADMITTED),
    ("plan", (_M.ADMITTED,), _M.PLANNED),
    ("installer: create", (_M.PLANNED,), _M.INSTALLER_BOUND),
    ("installer: start", (_M.INSTALLER_BOUND,), _M.INSTALLER_STARTED),
    ("installer: feed", (_M.INSTALLER_BOUND, _M.INSTALLER_STARTED), _M.INSTALLER_FED),
    ("install", (_M.INSTALL_BEGAN,), _M.INSTALL_ENDED),
    ("installer: end", (_M.INSTALL_ENDED,), _M.INSTALLER_ENDED),
    ("container: create", (_M.PLANNED, _M.INSTALLER_ENDED), _M.BOUND),
    ("container: start", (_M.BOUND,), _M.STARTED),
    ("runner: start", (_M.STARTED,), _M.RUNNER_READY),
    ("container: attach", (_M.BOUND, _M.STARTED, _M.RUNNER_READY), _M.FEEDING_BEGAN),
    ("container: feed", (_M.BOUND, _M.FEEDING_BEGAN), _M.FED),
    ("install: project", (_M.SETUP_BEGAN,), _M.SETUP_ENDED),
    ("tests: start", (_M.FED, _M.SETUP_ENDED), _M.TESTS_BEGAN),
    ("tests: first output", (_M.TESTS_BEGAN,), _M.FIRST_OUTPUT),
    ("client: first output", (_M.FIRST_OUTPUT,), _M.OUTPUT_SHOWN),
    ("tests", (_M.TESTS_BEGAN,), _M.TESTS_ENDED),
    ("result", (_M.TESTS_ENDED,), _M.RESULT_SEEN),
    ("complete", (_M.RESULT_SEEN,), _M.COMPLETED),
    ("client: last event", (_M.COMPLETED,), _M.END_SHOWN),
)
"""A name, what must have come before it begins (the latest that is known counts), what ends it."""


def phases_of(times: JobTimes) -> list[PhaseTime]:
    """The phases whose both ends are known, in the order in which they began."""
    found: list[PhaseTime] = []
    for name, begins, milestone in _PHASES:
        known = [times.moments[begin] for begin in begins if begin in times.moments]
        end = times.moments.get(milestone)
        if known and end is not None:
            begin = max(known)
            found.append(PhaseTime(name, begin, max(0.0, (end - begin).total_seconds())))
    return sorted(found, key=lambda phase: phase.begin)


def joined(client: JobTimes, server: JobTimes) -> JobTimes:
    """Both sides' moments, by the client's clock where the clocks can't agree.

    A request is received and stored between its sending and its answer. Where the clocks say otherwise,
    the server's moments are moved so that they lie in the middle.
    """
    sent, answered = client.moments.get(_M.SENDING_BEGAN), client.moments.get(_M.ACCEPTED)
    received, stored = server.moments.get(_M.RECEIVED), server.moments.get(_M.STORED)
    if sent and answered and received and stored and not (sent <= received and stored <= answered):
        server = server.shifted(((sent - received) + (answered - stored)) / 2)
    return client.with_later(server)
