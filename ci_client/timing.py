"""Where a job's time went, for people and for scripts. Pure.

The server tells when each phase was; what only the client knows (packing, sending, when the first of the
output was shown) is noted in its `moments`, and never sent.
"""

from collections.abc import Callable, Sequence

from ci_client.wire import JsonObject, is_object, moment_of
from ci_common.clock import to_iso
from ci_common.job_times import JobTimes, Milestone, phases_of

_HEADINGS = ("PHASE", "START ms", "DURATION ms")
_BAR_COLUMNS = 40
_LEAST_BAR_COLUMNS = 10
_GAP = "  "


def times_of(job: JsonObject) -> JobTimes:
    """The moments in a job as the server shows it, as far as this version knows them."""
    told = job.get("timing")
    return times_in(told if is_object(told) else {})


def times_in(told: JsonObject) -> JobTimes:
    """… as far as they are any."""
    moments = {milestone: moment_of(told, milestone.value) for milestone in Milestone}
    return JobTimes({milestone: moment for milestone, moment in moments.items() if moment is not None})


def timing_json(times: JobTimes) -> dict[str, str]:
    """As the server writes it."""
    moments = sorted(times.moments.items(), key=lambda pair: pair[1])
    return {milestone.value: to_iso(moment) for milestone, moment in moments}


def timing_lines(times: JobTimes, can_show: Callable[[str], bool], columns: int | None = None) -> list[str]:
    """A small waterfall, a line a phase; `columns` is the width of the terminal, where it is one."""
    phases = phases_of(times)
    if not phases:
        return ["no times are known of this job"]
    starts = [(phase.begin - phases[0].begin).total_seconds() for phase in phases]
    total_seconds = max(start + phase.seconds for start, phase in zip(starts, phases, strict=True))
    rows = [
        (phase.name, f"{start * 1000:.1f}", f"{phase.seconds * 1000:.1f}")
        for start, phase in zip(starts, phases, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    heads = [_row(row, widths) for row in (_HEADINGS, *rows)]
    room = _BAR_COLUMNS if columns is None else min(_BAR_COLUMNS, columns - len(heads[0]) - len(_GAP))
    if room < _LEAST_BAR_COLUMNS:
        return heads
    mark = "█" if can_show("█") else "#"
    scale = room / total_seconds if total_seconds else 0.0
    bars = [
        _bar(start * scale, phase.seconds * scale, room, mark)
        for start, phase in zip(starts, phases, strict=True)
    ]
    return [heads[0], *(f"{head}{_GAP}{bar}" for head, bar in zip(heads[1:], bars, strict=True))]


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, start, duration = cells
    return f"{name:<{widths[0]}}{_GAP}{start:>{widths[1]}}{_GAP}{duration:>{widths[2]}}"


def _bar(start: float, length: float, room: int, mark: str) -> str:
    """From about `start` on in `room` columns; one mark at least."""
    first = min(room - 1, int(start))
    return " " * first + mark * min(max(1, round(length)), room - first)
