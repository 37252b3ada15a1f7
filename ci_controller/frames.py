"""The runner's frames, read back from the engine's log: exact wherever the log is cut and resumed.

A frame is one line of ASCII, shorter than 16 KiB, `<number> <kind> <payload>`, numbers growing by one:

    1 hello {"version": 1}                  the runner is up and waits for its files
    2 fed {}                                it holds all of them, verified
    3 install <base64>                      at most 9,000 bytes of output of phase `install`
    4 test <base64>                         … of phase `test`
    5 notice {"text": "…"}                  the runner speaks
    6 end {"end": "exited", "phase": "test", "exit_code": 0, "oom_kills": 0, "terminated": false, …}

`phase` and `exit_code` may be null; unknown fields are ignored. `end` is the last. Both `fed` and `end`
may have `since_fed_seconds`, an object that tells when something was, counted from `fed`: `runner_ready`
and `feeding_began` (negative), `install_began`, `install_ended`, `test_began`, `test_ended`.

The log is always given from its start. What comes before `position` is decoded like the rest, so that
the state is the same as if there had been no cut, and then dropped. Whatever makes no sense as a frame
(a forged or repeated one, a traceback of the runner, a line past 16 KiB) is text of the present phase
and never an error. A number that skips some means that the engine lost lines: a notice says so.

One `FrameDecoder` follows one container; the controller's pump stores each `Batch` with its position in
one transaction. `finish` is only for a log that can't grow any more.
"""

import binascii
import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, cast

from ci_common.models import LogPosition, Phase

FRAMES_VERSION: Final = 1
MAX_LINE_BYTES: Final = 16 * 1024
"""Of a frame with its newline; the engine cuts longer lines."""

_HEAD = re.compile(rb"([1-9][0-9]{0,14}) ([a-z]+) ")
_JSON_OBJECT = re.compile(rb"\{[\x20-\x7e]*\}")
_HIGHEST_COUNT = 1 << 31
_LONGEST_SECONDS = 1e7
_MOMENTS = ("runner_ready", "feeding_began", "install_began", "install_ended", "test_began", "test_ended")


class RunnerEnd(StrEnum):
    """Why the runner stopped."""

    EXITED = "exited"
    """All steps are done, or one of phase `test` failed; `exit_code` is the last one's."""
    INSTALL_FAILED = "install_failed"
    PYTEST_MISSING = "pytest_missing"
    TIME_LIMIT = "time_limit"
    LOG_LIMIT = "log_limit"
    DISK_LIMIT = "disk_limit"
    OUT_OF_MEMORY = "out_of_memory"
    """The step's own process was killed for memory."""
    TERMINATED = "terminated"
    """SIGTERM came before the steps were done."""
    UNFED = "unfed"
    """stdin ended early, or the files' hash is wrong; no step has run."""
    ENVIRONMENT_MISSING = "environment_missing"
    """The required marker isn't there; no step has run."""
    BAD_FILES = "bad_files"
    """The files arrived whole, but could not be unpacked; a notice says why."""


@dataclass(frozen=True, slots=True)
class RunnerResult:
    """The last frame."""

    end: RunnerEnd
    phase: Phase | None
    """Of the last step that ran."""
    exit_code: int | None
    """Of the last step, as a shell gives it; None where the runner killed it, or none ran."""
    oom_kills: int
    """Processes that the kernel killed for the container's memory limit."""
    terminated: bool
    """SIGTERM came before the last step had ended."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a piece of the log brought."""

    chunks: list[tuple[Phase, str]]
    """Output in order, neighbours of one phase joined, no empty text."""
    fed: bool
    notices: list[str]
    result: RunnerResult | None
    position: LogPosition
    """Behind the last whole line."""
    since_fed_seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """What the runner says about when something was; it isn't worth storing by itself."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store but perhaps the position."""
        return not (self.chunks or self.fed or self.notices or self.result)


class FrameDecoder:
    """Turns a container's log into what it means, from `position` on."""

    def __init__(self, position: LogPosition) -> None:
        self._start = position
        self._offset_bytes = 0
        self._rest = b""
        """What follows `_offset_bytes`: the beginning of a line."""
        self._in_long_line = False
        self._number = 0
        self._phase = Phase.INSTALL
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._ended = False
        self._clear()

    def feed(self, data: bytes) -> Batch:
        """Take the next bytes of the log."""
        for line, is_whole in self._lines(data):
            self._take(line, is_whole=is_whole)
        return self._batch()

    def finish(self) -> Batch:
        """Take the log's end: an unfinished line is text, an unfinished UTF-8 sequence U+FFFD."""
        if self._rest:
            line, self._rest = self._rest, b""
            self._take(line, is_whole=False)
        if self._offset_bytes >= self._start.offset_bytes:
            self._end_text()
        return self._batch()

    def _lines(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Lines with their newlines, overlong ones in pieces that don't depend on how `data` was cut;
        beside each whether it is a whole line."""
        buffer = self._rest + data
        start = 0
        while True:
            limit = start + MAX_LINE_BYTES
            end = buffer.find(b"\n", start, limit) + 1
            if end:
                is_whole, self._in_long_line = not self._in_long_line, False
            elif len(buffer) >= limit:
                end, is_whole, self._in_long_line = limit, False, True
            else:
                break
            yield buffer[start:end], is_whole
            start = end
        self._rest = buffer[start:]

    def _take(self, line: bytes, *, is_whole: bool) -> None:
        if not (is_whole and not self._ended and self._take_frame(line)):
            self._add_text(self._phase, line.decode("utf-8", "replace"))
        self._offset_bytes += len(line)
        if self._offset_bytes <= self._start.offset_bytes:
            self._clear()
            if self._offset_bytes == self._start.offset_bytes:
                self._utf8.setstate((self._start.pending, 0))

    def _take_frame(self, line: bytes) -> bool:
        """Whether `line` made sense as a frame; if not, nothing has changed."""
        match = _HEAD.match(line)
        if match is None or int(match[1]) <= self._number:
            return False
        if not self._take_payload(match[2].decode("ascii"), line[match.end() : -1]):
            return False
        lost = int(match[1]) - self._number - 1
        if lost:
            self._notices.append(f"The engine's log has lost {lost} pieces of what the job wrote")
        self._number = int(match[1])
        return True

    def _take_payload(self, kind: str, payload: bytes) -> bool:
        if kind in {Phase.INSTALL, Phase.TEST}:
            return self._take_output(Phase(kind), payload)
        fields = _json_object(payload)
        if fields is None:
            return False
        if kind == "fed":
            self._fed = True
            self._since_fed_seconds.update(_seconds(fields))
        elif kind == "notice":
            text = fields.get("text")
            if not isinstance(text, str):
                return False
            # JSON can spell halves of surrogate pairs, which no UTF-8 storage takes.
            self._notices.append(text.encode("utf-8", "replace").decode("utf-8"))
        elif kind == "end":
            result = _result(fields)
            if result is None:
                return False
            self._end_text()
            self._result = result
            self._since_fed_seconds.update(_seconds(fields))
            self._ended = True
        return kind in {"hello", "fed", "notice", "end"}

    def _take_output(self, phase: Phase, payload: bytes) -> bool:
        try:
            data = binascii.a2b_base64(payload, strict_mode=True)
        except binascii.Error:
            return False
        if not data:
            return False
        if phase is not self._phase:
            self._end_text()
            self._phase = phase
        self._add_text(phase, self._utf8.decode(data))
        return True

    def _end_text(self) -> None:
        self._add_text(self._phase, self._utf8.decode(b"", final=True))
        self._utf8.reset()

    def _add_text(self, phase: Phase, text: str) -> None:
        if not text:
            return
        if self._texts and self._texts[-1][0] is phase:
            self._texts[-1][1].append(text)
        else:
            self._texts.append((phase, [text]))

    def _clear(self) -> None:
        self._texts: list[tuple[Phase, list[str]]] = []
        self._notices: list[str] = []
        self._fed = False
        self._result: RunnerResult | None = None
        self._since_fed_seconds: dict[str, float] = {}

    def _batch(self) -> Batch:
        position = LogPosition(self._offset_bytes, self._utf8.getstate()[0])
        if self._offset_bytes < self._start.offset_bytes:
            position = self._start
        batch = Batch(
            chunks=[(phase, "".join(texts)) for phase, texts in self._texts],
            fed=self._fed,
            notices=self._notices,
            result=self._result,
            position=position,
            since_fed_seconds=self._since_fed_seconds,
        )
        self._clear()
        return batch


def _json_object(payload: bytes) -> dict[str, object] | None:
    if _JSON_OBJECT.fullmatch(payload) is None:
        return None
    try:
        fields: object = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    # JSON's objects have text for names.
    return cast("dict[str, object]", fields) if isinstance(fields, dict) else None


def _seconds(fields: dict[str, object]) -> dict[str, float]:
    """What of `since_fed_seconds` can be; nothing else harms."""
    told = fields.get("since_fed_seconds")
    if not isinstance(told, dict):
        return {}
    moments = cast("dict[str, object]", told)  # JSON's objects have text for names
    return {name: seconds for name in _MOMENTS if (seconds := _number(moments.get(name))) is not None}


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if -_LONGEST_SECONDS <= value <= _LONGEST_SECONDS else None  # so no NaN


def _result(fields: dict[str, object]) -> RunnerResult | None:
    phase, exit_code = fields.get("phase"), fields.get("exit_code")
    oom_kills, terminated = fields.get("oom_kills"), fields.get("terminated")
    if not isinstance(terminated, bool) or not _is_count(oom_kills, _HIGHEST_COUNT):
        return None
    if exit_code is not None and not _is_count(exit_code, 255):
        return None
    try:
        end = RunnerEnd(cast("str", fields.get("end")))  # anything else is refused like a wrong name
        known_phase = None if phase is None else Phase(cast("str", phase))
    except ValueError:
        return None
    return RunnerResult(
        end=end,
        phase=known_phase,
        exit_code=cast("int | None", exit_code),  # checked above
        oom_kills=cast("int", oom_kills),  # checked above
        terminated=terminated,
    )


def _is_count(value: object, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest
