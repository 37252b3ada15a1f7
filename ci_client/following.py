"""Follows one job's events to the end, over as many connections as it takes.

Each event is delivered exactly once and in order: its number is noted when it has been delivered, and a
new connection begins behind it. What a cut has left unfinished is asked for again as a whole. A stream
that ends without `complete` means: connect again, as does silence, which the client reports as a
`Transient` problem.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from ci_client.problems import InternalFault, Transient
from ci_client.retrying import Patience
from ci_client.sse import NotSse, SseDecoder, SseEvent
from ci_client.wire import Completion, JsonObject, Malformed, completion, is_object, json_value, text_of
from ci_common.models import EventType, Phase

OpenStream = Callable[[int | None], AbstractContextManager[Iterator[bytes]]]
"""Opens the stream behind an event's number, or at the present end."""

_LASTING_SECONDS = 5.0
"""A connection that stood for so long was worth it, even if nothing happened."""
_MALFORMED_TRIES = 5


class Listener(Protocol):
    """Whoever shows what happens."""

    def output(self, phase: str, text: str) -> None:
        """A piece of output."""
        ...

    def notice(self, text: str) -> None:
        """The platform speaks."""
        ...


class Follower:
    """One job being followed."""

    def __init__(
        self,
        open_stream: OpenStream,
        listener: Listener,
        patience: Patience,
        *,
        after: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_stream = open_stream
        self._listener = listener
        self._patience = patience
        self._position = after
        """Number of the last event that was delivered; None: wherever the first stream begins."""
        self._clock = clock
        self._malformed = 0
        self._last_notice: str | None = None

    def run(self) -> Completion:
        """How the job has ended.

        Raises:
            Unreachable: the server couldn't be reached any more.
            InternalFault: what it sends makes no sense.
        """
        while True:
            began = self._clock()
            try:
                end = self._one_stream()
            except (NotSse, Malformed) as error:
                problem = self._malformed_again(error)
            except Transient as error:
                problem = error
            else:
                if end is not None:
                    return end
                problem = Transient("the server has ended the stream before the job's end")
            if self._clock() - began > _LASTING_SECONDS:
                self._patience.progressed()
            self._patience.wait(problem)

    def _one_stream(self) -> Completion | None:
        decoder = SseDecoder()
        with self._open_stream(self._position) as pieces:
            self._patience.reached()
            for piece in pieces:
                for event in decoder.feed(piece):
                    end = self._event(event)
                    if end is not None:
                        return end
        return None

    def _event(self, event: SseEvent) -> Completion | None:
        number = _number(event)
        if number is None:
            self._deliver(event)
            return None
        if not event.data:  # where the stream begins
            self._begin_at(number)
            return None
        if self._position is None:
            self._position = number - 1
        if number > self._position + 1:
            raise Malformed(f"event {number} follows event {self._position}")
        if event.type == EventType.COMPLETE:
            return completion(json_value(event.data))
        if number <= self._position:
            return None  # delivered before
        self._deliver(event)
        self._position = number
        self._malformed = 0
        self._patience.progressed()
        return None

    def _begin_at(self, number: int) -> None:
        if self._position is None:
            self._position = number
        elif number > self._position:
            raise Malformed(f"the stream begins at event {number} instead of {self._position}")

    def _deliver(self, event: SseEvent) -> None:
        if event.type not in {EventType.LOG, EventType.NOTICE}:
            return
        value = json_value(event.data)
        if not is_object(value):
            raise Malformed("an event's data is not an object")
        text = text_of(value, "data")
        if text is None:
            raise Malformed("an event without its text")
        if event.type == EventType.LOG:
            self._last_notice = None
            self._listener.output(_phase(value), text)
        elif text != self._last_notice:  # each connection tells again why a job waits
            self._last_notice = text
            self._listener.notice(text)

    def _malformed_again(self, error: ValueError) -> Transient:
        self._malformed += 1
        if self._malformed >= _MALFORMED_TRIES:
            raise InternalFault(
                f"the server's events make no sense ({error}); are client and server of one version?"
            ) from error
        return Transient(f"the server's events made no sense ({error})")


def _phase(value: JsonObject) -> str:
    return text_of(value, "phase") or Phase.TEST.value


def _number(event: SseEvent) -> int | None:
    if event.id is None:
        return None
    try:
        return int(event.id)
    except ValueError:
        raise Malformed(f"an event's id {event.id[:20]!r} is no number") from None
