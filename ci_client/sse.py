"""Server-sent events from a stream of bytes. Pure.

Unlike a browser's decoder this one tells an event without `id:` from one that repeats the last: that is
how the platform marks what isn't stored. An event that a cut has left unfinished is dropped.
"""

from dataclasses import dataclass

_LARGEST_LINE_BYTES = 64 << 20


class NotSse(ValueError):
    """The stream can't be what it says."""


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event; comments are none."""

    type: str
    """Empty where the stream names none."""
    data: str
    id: str | None
    """None where the event itself bears no id."""


class SseDecoder:
    """Fed with bytes cut anywhere."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._type = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The events that `piece` has completed.

        Raises:
            NotSse: a line grows beyond all measure.
        """
        self._pending.append(piece)
        self._pending_bytes += len(piece)
        if b"\n" not in piece:
            if self._pending_bytes > _LARGEST_LINE_BYTES:
                raise NotSse("a line without an end")
            return []
        lines = b"".join(self._pending).split(b"\n")
        self._pending = [lines.pop()]
        self._pending_bytes = len(self._pending[0])
        events = (self._line(line.removesuffix(b"\r").decode("utf-8", errors="replace")) for line in lines)
        return [event for event in events if event is not None]

    def _line(self, line: str) -> SseEvent | None:
        if not line:
            return self._end_of_event()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._type = value
        elif name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        return None

    def _end_of_event(self) -> SseEvent | None:
        event = SseEvent(self._type, "\n".join(self._data), self._id)
        self._type, self._data, self._id = "", [], None
        return event if event.type or event.data or event.id is not None else None
