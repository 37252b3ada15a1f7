"""Repeated measurements of one thing, and how two of them compare. Pure.

Medians throughout: one run that another program disturbed must not decide a figure. What the noise was is
kept beside it as the least and the greatest value.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure and the range in which single runs saw it."""

    value: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The median of `values`, which are one at least."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The ratio of the medians; the range is that of the runs that were made side by side."""
    pairs = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Spread(statistics.median(ours) / statistics.median(theirs), min(pairs), max(pairs))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of `values` that at least `percent` of them do not exceed."""
    ordered = sorted(values)
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]
