"""The runner's dealings with its kernel: frames on stdout, signals, children and their end.

Part of `runner.py` and bound by its rules: installed beside it, standard library alone, Python 3.9.
"""

from __future__ import annotations

import binascii
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FRAME_BYTES = 9000
"""Raw bytes in one frame: its line stays well below the 16 KiB at which the engine cuts."""
MAX_UNSENT_BYTES = 262144
READ_BYTES = 65536
PAUSE_SECONDS = 0.001
"""Behind a short read: long enough for a flood to gather, too short for people to see."""
DEATH_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.05
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
OOM_COUNTERS = ("/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events")
EXIT_BUG = 70


class Frames:
    """Numbered lines on stdout. What the engine doesn't take yet is kept here."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._unsent = bytearray()
        self._number = 0

    @property
    def waiting(self) -> list[int]:
        """What `select` has to look at for room to write."""
        return [self.fd] if self._unsent else []

    @property
    def is_full(self) -> bool:
        return len(self._unsent) >= MAX_UNSENT_BYTES

    def output(self, phase: str, data: bytes) -> None:
        for start in range(0, len(data), FRAME_BYTES):
            self._add(phase, binascii.b2a_base64(data[start : start + FRAME_BYTES]))
        self.send()

    def tell(self, kind: str, **fields: object) -> None:
        self._add(kind, json.dumps(fields).encode("ascii") + b"\n")
        self.send()

    def send(self) -> None:
        """As much as is taken without waiting."""
        try:
            while self._unsent:
                del self._unsent[: os.write(self.fd, self._unsent)]
        except BlockingIOError:
            return

    def send_all(self) -> None:
        while self._unsent:
            select.select([], [self.fd], [])
            self.send()

    def _add(self, kind: str, payload: bytes) -> None:
        self._number += 1
        self._unsent += b"%d %s %s" % (self._number, kind.encode("ascii"), payload)


class Output:
    """What a child writes, and when to read on: a lone line at once, a flood of short ones in gulps."""

    def __init__(self, fd: int, take: Callable[[bytes], None]) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self._take = take
        self._is_open = True
        self._due_at = 0.0

    def delay(self, now: float) -> float | None:
        """Seconds until it should be read; None for never."""
        return max(0.0, self._due_at - now) if self._is_open else None

    def read(self) -> None:
        """Once, where something is there."""
        try:
            data = os.read(self.fd, READ_BYTES)
        except BlockingIOError:  # the job has read from its own pipe
            return
        self._is_open = data != b""
        if len(data) < READ_BYTES:
            self._due_at = time.monotonic() + PAUSE_SECONDS
        self._take(data)

    def drain(self) -> None:
        """Read what is left when nobody writes any more."""
        try:
            while data := os.read(self.fd, READ_BYTES):
                self._take(data)
        except BlockingIOError:
            return


class Signals:
    """Deaths of children and requests to stop, as something that `select` can wait for."""

    def __init__(self) -> None:
        self.fd, writer = os.pipe()
        self.stop_requested = False
        os.set_blocking(self.fd, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, *STOP_SIGNALS):
            signal.signal(number, self._note)

    def clear(self) -> None:
        os.read(self.fd, READ_BYTES)

    def _note(self, number: int, _frame: object) -> None:
        if number in STOP_SIGNALS:
            self.stop_requested = True


def fork(work: Callable[[], None]) -> int:
    """Do `work` in a child that leads a session and is the first to go when memory runs out."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(work)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _be_child(work: Callable[[], None]) -> None:
    status = EXIT_BUG
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, *STOP_SIGNALS):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        os.setsid()
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
        work()
        status = 0
    except Exception as error:  # noqa: BLE001 - shown whatever it is; nothing may run past this function
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(status)


def become(uid: int, gid: int, *, in_effect_alone: bool = False) -> None:
    """Be the job's user for good, or in effect alone: then the job's processes can't touch this one."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    if in_effect_alone:
        os.setresuid(0, uid, 0)
    else:
        os.setresuid(uid, uid, uid)


class Children:
    """Everybody in the container but the runner: all of them are its children in the end."""

    def __init__(self, signals: Signals, frames: Frames) -> None:
        self._signals = signals
        self._frames = frames
        self._main = 0
        self.status: int | None = None
        """How the main process ended, as `waitpid` gives it; None while it lives."""

    def begin(self, work: Callable[[], None]) -> None:
        """Fork the main process of a step."""
        self.status = None
        self._main = fork(work)

    def ask_to_stop(self) -> None:
        try:
            os.killpg(self._main, signal.SIGTERM)
        except ProcessLookupError:  # it leads no group yet; reaped it can't be, for then nobody asks
            os.kill(self._main, signal.SIGTERM)

    def reap(self) -> bool:
        """Take the dead; whether anybody is left."""
        for _ in range(1000):  # a fork bomb could keep this busy for ever
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                break
            if pid == self._main:
                self.status = status
                self._main = 0
        return True

    def end_all(self) -> bool:
        """Kill everybody; whether they are all gone within reason."""
        until = time.monotonic() + DEATH_SECONDS
        while self.reap():
            if time.monotonic() >= until:
                return False
            os.kill(-1, signal.SIGKILL)
            readable, _, _ = select.select([self._signals.fd], self._frames.waiting, [], LOOK_AGAIN_SECONDS)
            if readable:
                self._signals.clear()
            self._frames.send()
        return True


def oom_kills() -> int:
    """How many processes of this container the kernel has killed for memory."""
    for path in OOM_COUNTERS:
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    name, _, count = line.partition(" ")
                    if name == "oom_kill":
                        return int(count)
        except OSError:
            continue
    return 0
