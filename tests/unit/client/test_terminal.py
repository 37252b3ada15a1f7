import errno
import io
import threading
from typing import Any

import pytest

from ci_client.problems import ClientError, InternalFault, ReaderLeft
from ci_client.terminal import Console, Stream


class Recorder(io.RawIOBase):
    """Takes what is written, in small bites, and now and then not at all."""

    def __init__(self, log: list[tuple[str, str]], name: str, bite: int = 1 << 20) -> None:
        super().__init__()
        self._log = log
        self._name = name
        self._bite = bite
        self._refused = False
        self.fault: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int | None:  # any buffer
        if self.fault is not None:
            raise self.fault
        if self._bite < 10:
            self._refused = not self._refused
            if self._refused:
                return None
        taken = bytes(data[: self._bite])
        self._log.append((self._name, taken.decode(errors="surrogateescape")))
        return len(taken)


class Screen:
    def __init__(
        self, *, out: bool, err: bool, bite: int = 1 << 20, environ: dict[str, str] | None = None
    ) -> None:
        self.log: list[tuple[str, str]] = []
        self.out = Recorder(self.log, "out", bite)
        self.err = Recorder(self.log, "err", bite)
        self.console = Console(
            Stream(self.out, is_terminal=out, encoding="utf-8"),
            Stream(self.err, is_terminal=err, encoding="utf-8"),
            environ or {},
        )

    def text(self, name: str | None = None) -> str:
        return "".join(text for where, text in self.log if name in {None, where})


def test_short_and_refused_writes_lose_nothing() -> None:
    screen = Screen(out=False, err=False, bite=7)
    screen.console.test_output("ünïcödé" * 100)
    assert screen.text("out").encode(errors="surrogateescape") == ("ünïcödé" * 100).encode()


def test_a_note_begins_a_line_of_its_own_where_both_show() -> None:
    screen = Screen(out=True, err=True)
    screen.console.test_output("half")
    screen.console.note("a\nb")
    screen.console.test_output("rest\n")
    screen.console.note("c")
    assert screen.text() == "half\n\x1b[2mci: a b\x1b[0m\nrest\n\x1b[2mci: c\x1b[0m\n"


def test_separate_places_are_not_mixed() -> None:
    screen = Screen(out=False, err=True, environ={"NO_COLOR": "1"})
    screen.console.test_output("half")
    screen.console.note("a")
    screen.console.install_output("\x1b[31mred")
    screen.console.note("b")
    assert screen.text("out") == "half"
    assert screen.text("err") == "ci: a\n\x1b[31mred\x1b[0m\nci: b\n"


def test_progress_is_for_terminals_and_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(100))
    monkeypatch.setattr("ci_client.terminal.time.monotonic", lambda: float(next(times)))
    screen = Screen(out=True, err=True, environ={"TERM": "dumb"})
    screen.console.progress("1 of 2")
    screen.console.progress("2 of 2")
    screen.console.test_output("out\n")
    assert screen.text() == "\r\x1b[Kci: 1 of 2\r\x1b[Kci: 2 of 2\r\x1b[Kout\n"
    piped = Screen(out=False, err=False)
    piped.console.progress("1 of 2")
    assert piped.text() == ""


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EPIPE, ReaderLeft), (errno.EIO, ReaderLeft), (errno.ENOSPC, InternalFault)]
)
def test_stdout_that_cannot_be_written_ends_it(code: int, kind: type[ClientError]) -> None:
    screen = Screen(out=False, err=False)
    screen.out.fault = OSError(code, "no")
    with pytest.raises(kind):
        screen.console.test_output("x")


def test_stderr_that_cannot_be_written_does_not() -> None:
    screen = Screen(out=False, err=False)
    screen.err.fault = BrokenPipeError(errno.EPIPE, "no")
    screen.console.note("x")
    screen.console.install_output("x")
    screen.console.test_output("y")
    assert screen.text() == "y"


def test_lone_surrogates_do_not_stop_it() -> None:
    screen = Screen(out=False, err=False)
    screen.console.test_output("a\ud800b\n")
    assert screen.text("out") == "a?b\n"


def test_a_message_gets_through_while_another_thread_is_stuck() -> None:
    screen = Screen(out=False, err=False)
    stuck, go_on = threading.Event(), threading.Event()
    whole = screen.err.write

    def hang(data: Any, /) -> int | None:
        if bytes(data) == b"hang":
            stuck.set()
            go_on.wait()
        return whole(data)

    screen.err.write = hang
    thread = threading.Thread(target=screen.console.install_output, args=["hang"])
    thread.start()
    stuck.wait()
    screen.console.error("interrupted")
    assert "interrupted" in screen.text("err")
    go_on.set()
    thread.join()


def test_colours_are_for_terminals() -> None:
    for is_terminal, environ, coloured in [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ]:
        screen = Screen(out=is_terminal, err=is_terminal, environ=environ)
        screen.console.error("x")
        assert screen.console.out_has_colour is coloured
        assert ("\x1b[31m" in screen.text()) is coloured
