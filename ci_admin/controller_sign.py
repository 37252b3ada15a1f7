"""What the lease tells about the controller, in words; pure."""

from dataclasses import dataclass
from datetime import datetime

from ci_common.models import Lease

FRESH_SECONDS = 15.0
"""A leader beats far more often; an older beat means that it is gone, frozen, or its disk is."""


@dataclass(frozen=True, slots=True)
class Sign:
    """The last sign of life of a controller."""

    is_fresh: bool
    words: str


def last_sign(lease: Lease | None, now: datetime) -> Sign:
    """How the controller is, as far as the database knows."""
    if lease is None:
        return Sign(is_fresh=False, words="none has run yet")
    if lease.holder is None:
        return Sign(is_fresh=False, words="stopped")
    age_seconds = max(0.0, (now - lease.beat_time).total_seconds())
    state = f"{lease.state.value}: {lease.detail}" if lease.detail else lease.state.value
    if age_seconds > FRESH_SECONDS:
        return Sign(is_fresh=False, words=f"not answering for {age_seconds:.0f} s, was {state}")
    return Sign(is_fresh=True, words=f"process {lease.holder.pid}, {state}")
