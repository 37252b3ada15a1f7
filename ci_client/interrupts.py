"""Ctrl-C and its kin: the work runs in a thread, the main thread waits for its end or for a signal.

So a signal is noticed at once, whatever the work is blocked in, on Windows too; it never raises in the
middle of anything. The first one is told to the caller; a second leaves the process there and then.
A signal that was ignored when we were started (`nohup`, a background job of a script) stays ignored.

SIGHUP and SIGPIPE are nobody's business here, nor is Windows' SIGBREAK, which stands for a closed
terminal too: a closed terminal or pipe ends the client alone.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from types import FrameType
from typing import Generic, TypeVar

Result = TypeVar("Result")

_POLL_SECONDS: float | None = 0.1 if sys.platform == "win32" else None
"""Waiting for a lock can't be interrupted on Windows; elsewhere nobody need poll."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Raised in the working thread where it was told to stop."""


class Waiter:
    """What the main thread waits on: rung by tasks that end and by signals that arrive."""

    def __init__(self) -> None:
        # `SimpleQueue.put` may be called from a signal handler; an Event's `set` may deadlock there.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.signal: int | None = None
        """The first signal that has arrived."""

    def ring(self) -> None:
        """Let the waiting thread look again."""
        self._bell.put(None)

    def wait(self, condition: Callable[[], bool], timeout_seconds: float | None = None) -> bool:
        """Wait until `condition` holds; False where the time has run out before."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not condition():
            patience: list[float] = [] if _POLL_SECONDS is None else [_POLL_SECONDS]
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                patience.append(left)
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=min(patience, default=None))
        return True

    @property
    def exit_code(self) -> int:
        """What a shell gives for a process ended by the signal that has arrived."""
        assert self.signal is not None, "no signal has arrived"
        return exit_code_of(self.signal)

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Signals are noted here instead of ending the process."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._noted)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _noted(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(exit_code_of(number))
        self.signal = number
        self.ring()


def exit_code_of(number: int) -> int:
    """The exit code for a signal."""
    return 130 if number == signal.SIGINT else 143


class Task(Generic[Result]):
    """Work in a thread of its own that nobody has to wait for when the process ends."""

    def __init__(self, work: Callable[[], Result], waiter: Waiter | None = None) -> None:
        self._work = work
        self._waiter = waiter
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._end = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether there is a result or an error."""
        return self._end.is_set()

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return self.ended and self._error is not None

    def result(self) -> Result:
        """Wait for the end; what the work has returned, or what it has raised."""
        self._end.wait()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._error = error
        finally:
            self._end.set()
            if self._waiter is not None:
                self._waiter.ring()
