"""Reads what `python -m pytest -v` has printed. Pure.

The counts are those of pytest's own last line; the outcome of each test, for naming differences, is read
from the verbose lines.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_SUMMARY = re.compile(r"^=+ (?P<counts>\d+ \w+.*) in [\d.]+s(?: \([\d:]+\))? =+$", re.MULTILINE)
_COUNT = re.compile(r"(?P<number>\d+) (?P<outcome>\w+)")
_PYTHON = re.compile(r"^platform \S+ -- Python (?P<version>\S+),", re.MULTILINE)
_ROOT = re.compile(r"^rootdir: (?P<root>/.+)$", re.MULTILINE)
_TEST = re.compile(
    r"^(?P<test>\S+::.+?) (?P<outcome>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)(?: \(.*)?\s+\[ *\d+%\]$",
    re.MULTILINE,
)
_RUN = ("passed", "failed", "error", "errors", "xfailed", "xpassed")


@dataclass(frozen=True, slots=True)
class PytestLog:
    """One run."""

    python: str
    counts: Mapping[str, int]
    """By the word that pytest uses: `passed`, `failed`, `skipped`, …"""
    tests: Mapping[str, str] = field(repr=False)
    """Outcome of each test; where a name tells the project's folder, `<root>` stands in its place."""

    @property
    def passed(self) -> int:
        """Tests that passed."""
        return self.counts.get("passed", 0)

    @property
    def failed(self) -> int:
        """Tests that failed, in themselves or in their set-up."""
        return sum(self.counts.get(word, 0) for word in ("failed", "error", "errors"))

    @property
    def run(self) -> int:
        """Tests that were not skipped."""
        return sum(self.counts.get(word, 0) for word in _RUN)


def read(output: str) -> PytestLog:
    """What `output`, the whole of it, says.

    Raises:
        ValueError: it has no last line with counts.
    """
    summaries = list(_SUMMARY.finditer(output))
    python = _PYTHON.search(output)
    if not summaries or python is None:
        raise ValueError(f"this isn't the output of a whole run of pytest:\n{output[-2000:]}")
    counts = {found["outcome"]: int(found["number"]) for found in _COUNT.finditer(summaries[-1]["counts"])}
    root = _ROOT.search(output)
    named = output if root is None else output.replace(root["root"], "<root>")
    tests = {found["test"]: found["outcome"] for found in _TEST.finditer(named)}
    return PytestLog(python["version"], counts, tests)


def differences(here: PytestLog, there: PytestLog) -> list[str]:
    """Tests that ended otherwise there than here, a line each; of most runs none."""
    names = sorted(here.tests.keys() | there.tests.keys())
    return [
        f"{name}: {here.tests.get(name, 'absent')} here, {there.tests.get(name, 'absent')} on the host"
        for name in names
        if here.tests.get(name) != there.tests.get(name)
    ]


def failed_in_both(here: PytestLog, there: PytestLog) -> list[str]:
    """Tests that failed on either side alike."""
    ends = ("FAILED", "ERROR")
    return [name for name, end in here.tests.items() if end in ends and there.tests.get(name) in ends]
