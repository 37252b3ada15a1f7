"""What the person at the prompt sees: the tests' bytes on stdout, everything else on stderr.

Both are written unbuffered and as bytes, so that order and bytes are exact on every system. To a
terminal goes only `safe_text`; to a file or pipe the text as it is. Lines of ours begin with `ci: ` and
never share a line with unfinished output.

One thread writes stdout; any thread may write stderr. No lock is held while stdout is written, so a
reader that stands still can't keep a message from getting through.
"""

import errno
import functools
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from io import RawIOBase
from typing import TextIO

from ci_client.problems import InternalFault, ReaderLeft, cause_of
from ci_client.safe_text import SafeText, defused

_GREEN, _RED, _DIM = "32", "31", "2"
_CLEAR_LINE = "\r\x1b[K"
_PROGRESS_EVERY_SECONDS = 0.1
_PROGRESS_AFTER_SECONDS = 0.4
"""What is done by then flashes by unread."""
_LOCK_PATIENCE_SECONDS = 0.5


READER_LEFT = {errno.EPIPE, errno.EIO} | ({errno.EINVAL} if sys.platform == "win32" else set[int]())
"""What writing to a stdout ends with that nobody reads any more."""


class Stream:
    """One of the two, with what there is to know about it."""

    def __init__(self, raw: RawIOBase, *, is_terminal: bool, encoding: str) -> None:
        self._raw = raw
        self.is_terminal = is_terminal
        self.encoding = encoding
        self.safe = SafeText()
        self.at_line_start = True

    def write(self, text: str) -> None:
        """Write all of `text`, defused for a terminal.

        Raises:
            OSError: it can't be written.
        """
        if self.is_terminal:
            text = self.safe.feed(text)
        self.write_raw(text)

    def write_raw(self, text: str) -> None:
        """Write all of `text` as it is.

        Raises:
            OSError: it can't be written.
        """
        if not text:
            return
        self.at_line_start = text[-1] == "\n"
        left = memoryview(text.encode("utf-8", errors="replace"))
        while left:
            written = self._raw.write(left)
            if written is None:  # somebody made the pipe non-blocking, and it is full
                time.sleep(0.005)
                continue
            left = left[written:]

    def shows_where(self, other: "Stream") -> bool:
        """Whether both end up in one place: the same terminal, pipe or file."""
        if self.is_terminal and other.is_terminal:
            return True
        try:
            return os.path.sameopenfile(self._raw.fileno(), other._raw.fileno())
        except OSError:
            return False

    def can_show(self, text: str) -> bool:
        """Whether the stream's encoding has all characters of `text`."""
        try:
            text.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True


class Console:
    """Both streams together."""

    def __init__(self, out: Stream, err: Stream, environ: Mapping[str, str]) -> None:
        self.out = out
        self._err = err
        self._lock = threading.Lock()
        self._progress_shown = False
        self._progress_time = time.monotonic() + _PROGRESS_AFTER_SECONDS
        may_colour = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self.out_has_colour = may_colour and out.is_terminal
        self._err_has_colour = may_colour and err.is_terminal
        self._one_place = out.shows_where(err)
        self.err_can_show = err.can_show
        self.passed_mark, self.failed_mark = ("✓", "✗") if err.can_show("✓✗") else ("+", "x")

    def columns(self) -> int | None:
        """Width of the terminal that shows stdout; None where there is none."""
        if not self.out.is_terminal:
            return None
        try:
            return os.get_terminal_size(1).columns or None
        except OSError:
            return None

    # What the tests print

    def test_output(self, text: str) -> None:
        """A piece of the tests' output.

        Raises:
            ReaderLeft: nobody reads stdout any more.
            InternalFault: stdout can't be written.
        """
        self._clear_progress()
        try:
            self.out.write(text)
        except OSError as error:
            message = f"stdout can't be written: {cause_of(error)}"
            has_left = error.errno in READER_LEFT
            raise ReaderLeft(message) if has_left else InternalFault(message) from error

    def install_output(self, text: str) -> None:
        """A piece of the installer's output."""
        self._to_stderr(text)

    def answer(self, text: str) -> None:
        """A line that was asked for, on stdout.

        Raises:
            ReaderLeft: nobody reads stdout any more.
            InternalFault: stdout can't be written.
        """
        self.test_output(text + "\n")

    def finish_output(self) -> None:
        """The tests' output is complete: what a terminal still needs."""
        for stream in (self.out, self._err):
            if stream.is_terminal:
                self._quietly(stream, stream.safe.finish())

    # What we say

    def note(self, text: str) -> None:
        """A line of ours about how it goes."""
        self._own_line(f"ci: {_one_line(text)}", _DIM)

    def plain_line(self, text: str) -> None:
        """A line that scripts look for, without a prefix."""
        self._own_line(_one_line(text), None)

    def table(self, lines: Sequence[str]) -> None:
        """Lines of ours whose columns stand below one another."""
        for line in lines:
            self._own_line(defused(line), None)

    def success(self, text: str) -> None:
        """The final line after a good end."""
        self._own_line(f"ci: {self.passed_mark} {_one_line(text)}", _GREEN)

    def failure(self, text: str) -> None:
        """The final line after a bad end."""
        self._own_line(f"ci: {self.failed_mark} {_one_line(text)}", _RED)

    def error(self, text: str) -> None:
        """The one line that says why the command can't go on."""
        self._own_line(f"ci: error: {_one_line(text)}", _RED)

    def interrupted(self) -> None:
        """The terminal has just echoed `^C`: our next line must not stand behind it."""
        if self._err.is_terminal:
            self._err.at_line_start = False

    def progress(self, text: str) -> None:
        """Replace the progress line, on a terminal alone and not too often."""
        now = time.monotonic()
        if not self._err.is_terminal or now - self._progress_time < _PROGRESS_EVERY_SECONDS:
            return
        self._progress_time = now
        with self._lock:
            self._break_line()
            self._progress_shown = True
            self._quietly(self._err, f"{_CLEAR_LINE}ci: {text}")
            self._err.at_line_start = True

    def _own_line(self, line: str, colour: str | None) -> None:
        if colour is not None and self._err_has_colour:
            line = f"\x1b[{colour}m{line}\x1b[0m"
        # A message must get through even where another thread is stuck in a write.
        held = self._lock.acquire(timeout=_LOCK_PATIENCE_SECONDS)
        try:
            self._erase_progress()
            self._break_line()
            self._quietly(self._err, line + "\n")
        finally:
            if held:
                self._lock.release()

    def _break_line(self) -> None:
        """End a line that output has left unfinished where both show in one place."""
        if self._err.is_terminal:
            self._quietly(self._err, self._err.safe.finish())
            if self.out.is_terminal:
                self._quietly(self._err, self.out.safe.finish())
        unfinished = not self._err.at_line_start or (self._one_place and not self.out.at_line_start)
        if unfinished:
            self._quietly(self._err, "\n")
        if self._one_place:
            self.out.at_line_start = True

    def _to_stderr(self, text: str) -> None:
        with self._lock:
            self._erase_progress()
            try:
                self._err.write(text)
            except OSError:
                return  # nobody listens; the tests' output and the exit code still count

    def _clear_progress(self) -> None:
        if self._progress_shown:
            with self._lock:
                self._erase_progress()

    def _erase_progress(self) -> None:
        if self._progress_shown:
            self._progress_shown = False
            self._quietly(self._err, _CLEAR_LINE)
            self._err.at_line_start = True

    @staticmethod
    def _quietly(stream: Stream, text: str) -> None:
        try:
            stream.write_raw(text)
        except OSError:
            return  # there is no better place left to say so


@functools.cache
def standard_console() -> Console:
    """The one console of this process."""
    return Console(_stream(sys.stdout, 1), _stream(sys.stderr, 2), os.environ)


def _stream(text_stream: TextIO | None, descriptor: int) -> Stream:
    if text_stream is None:  # closed by whoever started us
        return Stream(_raw(os.open(os.devnull, os.O_WRONLY)), is_terminal=False, encoding="utf-8")
    text_stream.flush()
    raw = _raw(descriptor)
    is_terminal = raw.isatty()
    if is_terminal and sys.platform == "win32":
        _enable_escapes(descriptor)
    return Stream(raw, is_terminal=is_terminal, encoding=text_stream.encoding)


def _raw(descriptor: int) -> RawIOBase:
    """Unbuffered bytes; on Windows the console's own writer where the descriptor is a console."""
    return os.fdopen(descriptor, "wb", buffering=0, closefd=False)


if sys.platform == "win32":
    import ctypes

    _ENABLE_VIRTUAL_TERMINAL_PROCESSING = 4

    def _enable_escapes(descriptor: int) -> None:
        """Older consoles print escapes as text until told otherwise."""
        kernel = ctypes.windll.kernel32
        handle = kernel.GetStdHandle(-10 - descriptor)
        mode = ctypes.c_ulong()
        if kernel.GetConsoleMode(handle, ctypes.byref(mode)):
            kernel.SetConsoleMode(handle, mode.value | _ENABLE_VIRTUAL_TERMINAL_PROCESSING)


def _one_line(text: str) -> str:
    return defused(" ".join(text.split()))
