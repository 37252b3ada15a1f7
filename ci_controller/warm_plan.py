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
from ci_controller.seeds import Seed

BLANK_COSTS: Final = 2
"""A blank is two containers on one new volume: one to install, one to test."""


@dataclass(frozen=True, slots=True)
class Blank:
    """A volume that will become an environment, with both its containers."""

    seed: Seed | None = None
    """Its wheels lie on the volume, which is for its owner alone; None for an empty one, for anybody."""


Wish = VolumeName | Blank
"""What should wait: a container that can test on an environment, or a blank."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to give up, and the one thing to start next."""

    drop: frozenset[Wish]
    make: Wish | None


def next_step(stock: frozenset[Wish], wishes: Sequence[Wish], limit: int) -> Step:
    """One step towards what should wait.

    `stock` waits already, or is being started; `wishes` are in the order in which they are expected to be
    used; `limit` counts containers.
    """
    room, make = limit, None
    kept = set[Wish]()
    for wish in wishes:
        cost = BLANK_COSTS if isinstance(wish, Blank) else 1
        if cost > room:
            continue
        room -= cost
        kept.add(wish)
        if make is None and wish not in stock:
            make = wish
    return Step(stock - kept, make)


def in_order(environments: Sequence[VolumeName], seed: Seed | None) -> Sequence[Wish]:
    """What should wait: `environments` are in the order in which they are expected to be used.

    The likeliest job is one on the first environment, the second likeliest one that needs a new one.
    """
    seeded = [] if seed is None else [Blank(seed)]
    return [*environments[:1], Blank(), *seeded, *environments[1:]]


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
