"""The installed `ci` as a process, in pipes or on a terminal of its own."""

import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from fcntl import ioctl
from pathlib import Path

from tests.e2e.conditions import PATIENCE_SECONDS
from tests.e2e.processes import Finished, Running, clean_environ, command


class Client:
    """A user with a home, a server and a key."""

    def __init__(self, home: Path, url: str, key: str | None) -> None:
        self.home = home
        self.environ = clean_environ(HOME=str(home), CI_API_URL=url, CI_RETRY_SECONDS="60", TERM="xterm")
        if key is not None:
            self.environ["CI_API_KEY"] = key

    def start(self, *arguments: str, cwd: Path | None = None, **environ: str) -> Running:
        return Running([command("ci"), *arguments], {**self.environ, **environ}, cwd or self.home)

    def run(self, *arguments: str, cwd: Path | None = None, **environ: str) -> Finished:
        return self.start(*arguments, cwd=cwd, **environ).finish()

    def on_terminal(self, *arguments: str, cwd: Path | None = None, **environ: str) -> "TerminalRun":
        return TerminalRun([command("ci"), *arguments], {**self.environ, **environ}, cwd or self.home)


class TerminalRun:
    """A command whose stdin, stdout and stderr are one terminal of 100 columns, and who has the keyboard."""

    def __init__(self, argv: Sequence[str], environ: dict[str, str], cwd: Path) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *argv],
            stdin=slave, stdout=slave, stderr=slave, env=environ, cwd=cwd,
        )  # fmt: skip
        os.close(slave)
        self.seen = b""

    def wait_for(self, part: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while part not in self.seen:
            assert self._read(deadline), f"{part!r} never came; what came: {self.seen!r}"

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self._master)
        self._master = -1

    def finish(self) -> tuple[int, bytes]:
        """Exit code, and all that was seen."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._master >= 0 and self._read(deadline):
            continue
        code = self._process.wait(PATIENCE_SECONDS)
        if self._master >= 0:
            os.close(self._master)
        return code, self.seen

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            self._process.send_signal(signal.SIGKILL)
            return False
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self.seen += piece
        return bool(piece)


def make_project(folder: Path, **files: str) -> Path:
    """A project with one test, and more files."""
    (folder / "tests").mkdir(parents=True)
    (folder / "requirements.txt").write_text("pytest\n")
    (folder / "tests" / "test_it.py").write_text("def test_it(): pass\n")
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def client_of(home: Path, url: str, **environ: str) -> Client:
    client = Client(home, url, "ci_" + "x" * 43)
    client.environ.update(environ)
    return client
