"""What the lease tells about the controller, in words."""

from dataclasses import dataclass
from datetime import datetime

from ci_common.models import Lease, LeaseHolder

FRESH_SECONDS = 15.0
"""A leader beats far more often; an older beat means that it is frozen, or its disk is."""


@dataclass(frozen=True, slots=True)
class Sign:
    """The last sign of life of a controller."""

    is_fresh: bool
    words: str


def holder_of(lease: Lease | None) -> LeaseHolder | None:
    """The process that leads, or did until it died."""
    return None if lease is None else lease.holder


def last_sign(lease: Lease | None, *, holder_lives: bool, now: datetime) -> Sign:
    """How the controller is; `holder_lives` tells whether the lease's process exists."""
    if lease is None:
        return Sign(is_fresh=False, words="none has run yet")
    if lease.holder is None:
        return Sign(is_fresh=False, words="stopped")
    name = f"process {lease.holder.pid}"
    if not holder_lives:
        return Sign(is_fresh=False, words=f"{name} has died")
    age_seconds = max(0.0, (now - lease.beat_time).total_seconds())
    state = f"{lease.state.value}: {lease.detail}" if lease.detail else lease.state.value
    if age_seconds > FRESH_SECONDS:
        return Sign(is_fresh=False, words=f"{name} stands still for {age_seconds:.0f} s, was {state}")
    return Sign(is_fresh=True, words=f"{name}, {state}")
