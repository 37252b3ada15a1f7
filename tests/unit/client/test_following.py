"""Exactly once and in order, wherever a connection is cut."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_client.following import Follower
from ci_client.problems import InternalFault, KeyRefused, Transient, Unreachable
from ci_client.retrying import Patience
from ci_client.wire import Completion

Connection = list[bytes | Exception]


def event(seq: int | None, kind: str, **data: object) -> bytes:
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def log(seq: int, text: str, phase: str = "test") -> bytes:
    return event(seq, "log", phase=phase, data=text)


def complete(seq: int) -> bytes:
    return event(seq, "complete", outcome="failed", success=False, exit_code=1, reason=None)


class Watched:
    """A job whose connections are scripted; what is shown is kept."""

    def __init__(self, *connections: Connection, limit_seconds: float = 60) -> None:
        self._connections = list(connections)
        self.asked: list[int | None] = []
        self.shown: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.time = 0.0
        self._patience = Patience(
            limit_seconds, self.said.append, pause=self._pause, clock=lambda: self.time, jitter=lambda: 1.0
        )

    def _pause(self, seconds: float) -> None:
        self.time += seconds

    @contextmanager
    def _open(self, after: int | None) -> Generator[Iterator[bytes]]:
        self.asked.append(after)
        connection = self._connections.pop(0) if len(self._connections) > 1 else self._connections[0]
        if connection and isinstance(connection[0], Exception):
            raise connection[0]
        yield self._pieces(connection)

    @staticmethod
    def _pieces(connection: Connection) -> Iterator[bytes]:
        for piece in connection:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def output(self, phase: str, text: str) -> None:
        self.shown.append((phase, text))

    def notice(self, text: str) -> None:
        self.shown.append(("notice", text))

    def follow(self, after: int | None = 0) -> Completion:
        return Follower(self._open, self, self._patience, after=after, clock=lambda: self.time).run()

    def text(self) -> str:
        return "".join(text for _, text in self.shown)


WHOLE = (
    log(1, "one\n") + log(2, "two ü\r\n") + event(3, "status", status="running") + log(4, "") + log(5, "x\n")
)
TEXT = "one\ntwo ü\r\nx\n"
BOUNDS = [0, *(WHOLE.index(f"id: {seq}\n".encode()) for seq in range(2, 6)), len(WHOLE)]


def rest_behind(seq: int) -> bytes:
    return f"id: {seq}\n\n".encode() + WHOLE[BOUNDS[seq] :] + complete(6)


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_a_cut_after_any_byte(cut: int) -> None:
    delivered = sum(bound <= cut for bound in BOUNDS[1:])
    watched = Watched([b"id: 0\n\n" + WHOLE[:cut], Transient("cut")], [rest_behind(delivered)])
    assert watched.follow() == Completion("failed", 1, None)
    assert watched.asked == [0, delivered]
    assert watched.text() == TEXT


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8), st.integers(1, 9))
def test_many_cuts_and_pieces_of_any_size(cuts: list[int], size: int) -> None:
    class Resuming(Watched):
        @contextmanager
        def _open(self, after: int | None) -> Generator[Iterator[bytes]]:
            assert after is not None
            data = rest_behind(after)
            if left:
                data = data[: left.pop()]
            yield iter([data[start : start + size] for start in range(0, len(data), size)])

    left = list(cuts)
    watched = Resuming([])
    assert watched.follow().exit_code == 1
    assert watched.text() == TEXT


def test_what_is_sent_twice_is_shown_once() -> None:
    watched = Watched([log(1, "one\n") + log(1, "one\n") + log(2, "two\n") + log(1, "one\n") + complete(3)])
    watched.follow()
    assert watched.text() == "one\ntwo\n"


def test_a_gap_is_never_skipped() -> None:
    watched = Watched([log(1, "a") + log(3, "c")], [log(2, "b") + log(3, "c") + complete(4)])
    watched.follow()
    assert (watched.text(), watched.asked) == ("abc", [0, 1])
    assert Watched([log(1, "a") + complete(3)], [log(2, "b") + complete(3)]).follow().exit_code == 1


def test_from_the_present_end_on() -> None:
    watched = Watched(
        [Transient("no")],
        [b"id: 7\n\n", log(8, "new"), Transient("cut")],
        [b"id: 8\n\n" + log(9, "er") + complete(10)],
    )
    watched.follow(after=None)
    assert watched.asked == [None, None, 8]
    assert watched.text() == "newer"


def test_the_end_of_a_completed_job_comes_again() -> None:
    assert Watched([b"id: 5\n\n" + complete(5)]).follow(after=None).exit_code == 1


def test_unknown_events_are_counted_and_ignored() -> None:
    future = event(1, "future", x=1) + event(None, "job_id", job_id="x")
    watched = Watched([future + log(2, "a") + complete(3)])
    watched.follow()
    assert watched.shown == [("test", "a")]


def test_phases_and_notices() -> None:
    waits = event(None, "notice", data="2 jobs before this one")
    watched = Watched(
        [waits + waits, Transient("cut")],
        [waits + log(1, "i", "install") + event(2, "notice", data="killed") + complete(3)],
    )
    watched.follow()
    assert watched.shown == [("notice", "2 jobs before this one"), ("install", "i"), ("notice", "killed")]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"id: 1\nevent: log\ndata: {\n\n",
        b"id: 1\nevent: log\ndata: []\n\n",
        b"id: 1\nevent: log\ndata: {}\n\n",
        b"id: x\nevent: log\ndata: {}\n\n",
        b'id: 1\nevent: complete\ndata: {"outcome": 1}\n\n',
        b"id: 4\n\n",
    ],
)
def test_nonsense_is_tried_again_and_then_given_up(nonsense: bytes) -> None:
    assert Watched([nonsense], [complete(1)]).follow().exit_code == 1
    with pytest.raises(InternalFault, match="make no sense"):
        Watched([nonsense]).follow()


def test_only_an_outage_counts_against_patience() -> None:
    """A connection that stands, however often it is cut, is no outage."""

    class Idle(Watched):
        @contextmanager
        def _open(self, after: int | None) -> Generator[Iterator[bytes]]:
            self.asked.append(after)
            self.time += 20
            yield iter([b"id: 0\n\n" + (complete(1) if len(self.asked) > 20 else b"")])

    idle = Idle([], limit_seconds=10)
    assert idle.follow().exit_code == 1
    assert idle.said == []


def test_an_outage_is_said_once_and_ends_after_the_limit() -> None:
    watched = Watched([Transient("no route")], limit_seconds=30)
    with pytest.raises(Unreachable, match="no route"):
        watched.follow()
    assert watched.said == ["no route; trying again for 29 s"]
    assert 15 < watched.time <= 30


def test_what_stays_wrong_ends_it_at_once() -> None:
    watched = Watched([KeyRefused("revoked")])
    with pytest.raises(KeyRefused):
        watched.follow()
    assert watched.asked == [0]
