"""Where a submission's milliseconds go, drawn from real traces: a bar a phase, medians of several.

    python -m benchmarks.waterfall --warm 15 -o docs/warm-submission.svg
    python -m benchmarks.waterfall JOB… -o docs/warm-submission.svg
    python -m benchmarks.waterfall --from-json FILE --from-json FILE … -o docs/warm-submission.svg

The first makes the submissions itself, on an installation of its own. A FILE is what
`ci submit test --timing-json FILE` writes, or what `ci status JOB --timing --json` prints; the former holds
the client's phases too. A JOB is asked for with the `ci` beside this interpreter, by the settings of whoever
runs this.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from html import escape
from itertools import pairwise
from pathlib import Path

from benchmarks import sample_projects
from benchmarks.installation import command, temporary_installation
from ci_client.timing import times_in, times_of
from ci_client.wire import JsonObject, is_array, is_object, json_value
from ci_common.job_times import JobTimes, Milestone, joined, phases_of

_MILLISECOND = timedelta(milliseconds=1)
_ZERO = datetime(1970, 1, 1, tzinfo=UTC)

_WIDTH, _MARGIN = 960, 24
_NAMES_WIDTH, _LABEL_WIDTH = 160, 76
_PLOT_LEFT, _PLOT_RIGHT = _MARGIN + _NAMES_WIDTH, _WIDTH - _MARGIN - _LABEL_WIDTH
_TOP, _ROW, _BAR = 100, 24, 14
_LEAST_BAR_WIDTH = 1.5
_MAX_TICKS = 8
_PAUSE_SECONDS = 2.0
"""Between submissions: the next one's container has been started by then."""


class Side(StrEnum):
    """Who is at work in a phase."""

    CLIENT = "client"
    SERVER = "server"
    CONTROLLER = "controller"
    ENGINE = "engine"
    CONTAINER = "inside the container"


@dataclass(frozen=True, slots=True)
class Bar:
    """A phase as it is drawn."""

    name: str
    start_milliseconds: float
    milliseconds: float

    @property
    def end_milliseconds(self) -> float:
        """Where it ends."""
        return self.start_milliseconds + self.milliseconds


def times_of_both(trace: JsonObject) -> JobTimes:
    """The moments of one submission, both sides' where the client's are there."""
    noted = trace.get("client_timing")
    return joined(times_in(noted if is_object(noted) else {}), times_of(trace))


def median_times(traces: Sequence[JobTimes]) -> JobTimes:
    """One submission that stands for all: of the moments that more than half of them have.

    Its steps from one moment to the next are the medians of theirs. Medians of each phase by itself would
    make phases that overlap though none ever did.
    """
    found: dict[Milestone, list[float]] = defaultdict(list)
    for times in traces:
        zero = min(times.moments.values(), default=_ZERO)
        for milestone, moment in times.moments.items():
            found[milestone].append((moment - zero).total_seconds())
    middles = {name: statistics.median(all_) for name, all_ in found.items() if 2 * len(all_) > len(traces)}
    order = sorted(middles, key=lambda name: middles[name])
    reached, moments = _ZERO, dict.fromkeys(order[:1], _ZERO)
    for before, after in pairwise(order):
        steps = [
            (times.moments[after] - times.moments[before]).total_seconds()
            for times in traces
            if before in times.moments and after in times.moments
        ]
        reached += timedelta(seconds=max(0.0, statistics.median(steps)))
        moments[after] = reached
    return JobTimes(moments)


def bars_of(times: JobTimes) -> list[Bar]:
    """The phases, counted from the first moment."""
    phases = phases_of(times)
    return [
        Bar(phase.name, (phase.begin - phases[0].begin) / _MILLISECOND, phase.seconds * 1000)
        for phase in phases
    ]


def side_of(name: str) -> Side:
    """Who works in the phase of this name."""
    head = name.partition(":")[0]
    match head:
        case "client":
            return Side.CLIENT
        case "server":
            return Side.SERVER
        case "container" | "installer":
            return Side.ENGINE
        case "runner" | "install" | "tests":
            return Side.CONTAINER
        case _:
            return Side.CONTROLLER


def tick_step(total_milliseconds: float) -> float:
    """A round distance between the axis's lines, which are few."""
    rough = max(total_milliseconds, 1e-3) / _MAX_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough)


def draw(bars: Sequence[Bar], title: str, subtitle: str = "") -> str:
    """An SVG picture for pages of any brightness."""
    total = max((bar.end_milliseconds for bar in bars), default=0.0)
    step = tick_step(total)
    ticks = [number * step for number in range(math.floor(total / step) + 1)]
    scale = (_PLOT_RIGHT - _PLOT_LEFT) / total if total else 0.0
    bottom = _TOP + len(bars) * _ROW
    height = bottom + 44
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            _STYLE,
            f'<rect class="page" width="{_WIDTH}" height="{height}"/>',
            _text(_MARGIN, 32, title, "head"),
            _text(_MARGIN, 52, subtitle, "quiet"),
            *_legend(list(dict.fromkeys(side_of(bar.name) for bar in bars))),
            *(line for tick in ticks for line in _tick(_PLOT_LEFT + tick * scale, bottom, f"{tick:g}")),
            _text(_PLOT_RIGHT + 8, bottom + 20, "ms", "quiet"),
            *(line for row, bar in enumerate(bars) for line in _row(bar, _TOP + row * _ROW, scale)),
            "</svg>\n",
        ]
    )


_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.page { fill: #ffffff; }
.head { font-size: 17px; font-weight: 600; }
.quiet { fill: #59636e; }
.grid { stroke: #d1d9e0; }
.client { fill: #0072b2; }
.server { fill: #009e73; }
.controller { fill: #cc79a7; }
.engine { fill: #d98200; }
.inside { fill: #56a5dd; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.page { fill: #0d1117; }
.quiet { fill: #9198a1; }
.grid { stroke: #3d444d; }
.client { fill: #3b9be0; }
.server { fill: #2bbf94; }
.engine { fill: #e69f00; }
.inside { fill: #8cc8f2; }
}
</style>"""


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _legend(sides: Sequence[Side]) -> list[str]:
    lines: list[str] = []
    x = float(_MARGIN)
    for side in sides:
        lines += [_box(x, 66, 12, 12, side), _text(x + 18, 76, side)]
        x += 18 + 7 * len(side) + 24
    return lines


def _tick(x: float, bottom: float, label: str) -> list[str]:
    return [
        f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom + 4}"/>',
        _text(x, bottom + 20, label, "quiet", "middle"),
    ]


def _row(bar: Bar, top: float, scale: float) -> list[str]:
    x, width = _PLOT_LEFT + bar.start_milliseconds * scale, max(_LEAST_BAR_WIDTH, bar.milliseconds * scale)
    middle = top + _ROW / 2 + 4
    return [
        _text(_PLOT_LEFT - 10, middle, bar.name, anchor="end"),
        _box(x, top + (_ROW - _BAR) / 2, width, _BAR, side_of(bar.name)),
        _text(x + width + 6, middle, f"{bar.milliseconds:.1f} ms"),
    ]


def _box(x: float, y: float, width: float, height: float, side: Side) -> str:
    kind = side.split(" ")[0]
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"/>'


def read_traces(texts: Sequence[str]) -> list[JsonObject]:
    """The traces in JSON texts, each an object or an array of them.

    Raises:
        ValueError: a text is no JSON, or holds something else, or only some know the client's times, which
            shift all others.
    """
    traces: list[JsonObject] = []
    for value in map(json_value, texts):
        for trace in value if is_array(value) else [value]:
            if not is_object(trace):
                raise ValueError("a trace is a JSON object")
            traces.append(trace)
    if len({"client_timing" in trace for trace in traces}) > 1:
        raise ValueError(
            "some traces hold the client's times and some don't: they begin at different moments"
        )
    return traces


def _trace_of_job(job: str) -> str:
    asked = subprocess.run(
        [command("ci"), "status", job, "--timing", "--json"], capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        sys.exit(asked.stderr)
    return asked.stdout


def warm_traces(count: int) -> list[str]:
    """Traces of a small project's submissions to an installation of their own, its packages cached."""
    with tempfile.TemporaryDirectory(prefix="ci-waterfall-") as name:
        folder = Path(name)
        for each in ("installation", "project"):
            (folder / each).mkdir()
        project, texts = sample_projects.small(folder / "project"), list[str]()
        with temporary_installation(folder / "installation") as installation:
            for number in range(count + 1):
                file = folder / f"{number}.json"
                done = installation.ci("submit", "test", "--timing-json", str(file), "--", "-q", cwd=project)
                if done.returncode != 0:
                    raise RuntimeError(done.stderr.decode(errors="replace"))
                texts.append(file.read_text("utf-8"))
                time.sleep(_PAUSE_SECONDS)
        return texts[1:]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waterfall", description=__doc__)
    parser.add_argument("jobs", nargs="*", metavar="JOB")
    parser.add_argument("--from-json", action="append", default=[], type=Path, metavar="FILE")
    parser.add_argument("--warm", type=int, default=0, metavar="N", help="make N warm submissions for it")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE")
    parser.add_argument("--title", default="Where a warm submission's milliseconds go")
    chosen = parser.parse_args()
    files: list[Path] = chosen.from_json
    texts = warm_traces(chosen.warm) if chosen.warm else []
    texts += [*(file.read_text("utf-8") for file in files), *map(_trace_of_job, chosen.jobs)]
    traces = [times for times in map(times_of_both, read_traces(texts)) if times.moments]
    if not traces:
        parser.error("no job whose times are known: name some, or files with --from-json")
    bars = bars_of(median_times(traces))
    subtitle = f"medians of {len(traces)} submissions" if len(traces) > 1 else "one submission"
    chosen.output.write_text(draw(bars, chosen.title, subtitle), "utf-8")
    print(json.dumps({bar.name: round(bar.milliseconds, 1) for bar in bars}, indent=2))


if __name__ == "__main__":
    main()
