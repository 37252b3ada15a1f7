"""What a row of the table says: figures, what they should reach, and whether they do. Pure."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum

from benchmarks.samples import Spread


class Judgement(StrEnum):
    """How a figure stands to its target."""

    REACHED = "reached"
    """All steps of the target, or its only one."""
    FIRST_STEP = "first step"
    """The first step, not the last."""
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: at most, or at least, each of `steps`, the easiest first."""

    steps: tuple[float, ...]
    at_least: bool = False

    def judge(self, value: float) -> Judgement:
        """How `value` stands to it."""
        reached = sum(value >= step if self.at_least else value <= step for step in self.steps)
        if reached == len(self.steps):
            return Judgement.REACHED
        return Judgement.FIRST_STEP if reached else Judgement.MISSED


def at_most(*steps: float) -> Target:
    """The figure should be small."""
    return Target(steps)


def at_least(*steps: float) -> Target:
    """The figure should be great."""
    return Target(steps, at_least=True)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a row."""

    name: str
    spread: Spread
    unit: str = ""
    """Empty for a ratio."""
    target: Target | None = None
    """None for what only explains another figure."""
    samples: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """What it was computed from, by the name of what was run."""

    @property
    def judgement(self) -> Judgement | None:
        """Where there is a target."""
        return None if self.target is None else self.target.judge(self.spread.value)


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one row."""

    name: str
    title: str
    """What is measured against what, in a line."""
    figures: tuple[Figure, ...] = ()
    remark: str = ""
    """What a reader has to know, or why there are no figures."""
    failed: bool = False
    """It was begun and could not be measured."""
    seconds: float = 0.0
    load: float = 0.0
    """The machine's load average when it began."""

    def as_json(self) -> dict[str, object]:
        """All of it, for programs."""
        found: dict[str, object] = asdict(self)
        found["figures"] = [{**asdict(figure), "judgement": figure.judgement} for figure in self.figures]
        return found
