"""Which containers should be waiting for jobs that nobody has submitted yet: pure, no I/O.

A container can only mount what exists when it is created, so each waits for one thing: to test on the
packages of one environment, or, together with its twin, to fill a new one and then test on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ci_common.ids import VolumeName
from ci_common.models import Environment, Job, Stage
from ci_controller.environments import is_fresh

BLANK_COSTS: Final = 2
"""A blank is two containers on one new volume: one to install, one to test."""


@dataclass(frozen=True, slots=True)
class Blank:
    """An empty volume with both its containers."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What waits already, or is being started."""

    environments: frozenset[VolumeName]
    """Those with a container that waits to test on them."""
    has_blank: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What to give up, and the one thing to start next."""

    drop: frozenset[VolumeName]
    drop_blank: bool
    make: VolumeName | Blank | None


def next_step(stock: Stock, environments: Sequence[VolumeName], limit: int) -> Step:
    """One step towards what should wait.

    `environments` are in the order in which they are expected to be used; `limit` counts containers. The
    likeliest job is one on the first environment, the second likeliest one that needs a new one.
    """
    room, make = limit, None
    kept, keeps_blank = set[VolumeName](), False
    for wish in [*environments[:1], Blank(), *environments[1:]]:
        cost = BLANK_COSTS if isinstance(wish, Blank) else 1
        if cost > room:
            continue
        room -= cost
        if isinstance(wish, Blank):
            is_there = keeps_blank = stock.has_blank
        else:
            is_there = wish in stock.environments
            kept.add(wish)
        if not is_there and make is None:
            make = wish
    return Step(stock.environments - kept, stock.has_blank and not keeps_blank, make)


def expected_environments(
    running: Sequence[Job], environments: Sequence[Environment], now: datetime, max_age: timedelta
) -> Sequence[VolumeName]:
    """What jobs will probably want, the likeliest first: what is being installed, then what was used last."""
    installing = [
        job.run.environment
        for job in running
        if job.run is not None and job.run.stage is Stage.INSTALL and job.run.environment is not None
    ]
    fresh = [environment for environment in environments if is_fresh(environment, now, max_age)]
    fresh.sort(key=lambda environment: environment.last_used_at, reverse=True)
    return [*installing, *(environment.volume for environment in fresh)]
