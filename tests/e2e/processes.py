"""The platform's installed commands as processes: run to their end, or watched while they run."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar

from tests.e2e.conditions import PATIENCE_SECONDS

BIN = Path(sys.executable).parent
"""Where the commands are installed."""

_FOREIGN = ("CI_", "GITLAB_", "GITHUB_", "PYTEST_", "XDG_", "COV_")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command printed, and its exit code."""

    exit_code: int
    stdout: bytes
    stderr: str


class Recorder:
    """Takes in a stream as it comes, for others to wait for a part of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._seen = bytearray()
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while chunk := os.read(self._stream.fileno(), 65536):
            with self._changed:
                self._seen += chunk
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def seen(self) -> bytes:
        """What has come so far."""
        with self._changed:
            return bytes(self._seen)

    def wait_for(self, part: bytes, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Until `part` has come."""
        with self._changed:
            self._changed.wait_for(lambda: part in self._seen or self._ended, patience_seconds)
            assert part in self._seen, f"{part!r} never came; what came: {bytes(self._seen)[-4000:]!r}"

    def rest(self) -> bytes:
        """Everything, once the stream has ended."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the stream never ended"
        return self.seen()

    def close(self) -> None:
        """No more of it is of interest."""
        self._thread.join(PATIENCE_SECONDS)
        self._stream.close()


class Running:
    """A command while it runs."""

    _unfinished: ClassVar[set["Running"]] = set()

    @classmethod
    def end_all(cls) -> None:
        """Leave none behind, whatever became of the test that started them."""
        for each in list(cls._unfinished):
            each.close()

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], cwd: Path) -> None:
        self._argv = argv
        self._process = subprocess.Popen(
            argv,
            env=dict(environ),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        Running._unfinished.add(self)
        self.stdout = Recorder(self._process.stdout)  # pyright: ignore[reportArgumentType] - it is a BufferedReader
        self.stderr = Recorder(self._process.stderr)  # pyright: ignore[reportArgumentType] - it is a BufferedReader

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it runs yet."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Give it a signal."""
        self._process.send_signal(number)

    def finish(self, patience_seconds: float = PATIENCE_SECONDS) -> Finished:
        """Wait for its end."""
        try:
            code = self._process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(
                f"{self._argv} went on and on; stdout {self.stdout.seen()[-2000:]!r}, "
                f"stderr {self.stderr.seen()[-2000:]!r}"
            ) from None
        done = Finished(code, self.stdout.rest(), self.stderr.rest().decode("utf-8", "replace"))
        self.close()
        return done

    def close(self) -> None:
        """Make sure that it is over, and release what it held."""
        if self.is_alive():
            self._process.kill()
            self._process.wait()
        self.stdout.close()
        self.stderr.close()
        Running._unfinished.discard(self)


class Service:
    """A command that runs until it is told to stop, its output in a file."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                argv,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Give it a signal."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """Ask it to end, and wait until it has; its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM didn't end it; its log:\n{self.read_log()[-4000:]}") from None

    def read_log(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def clean_environ(**more: str) -> dict[str, str]:
    """The environment without what would steer the platform from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    for name in ("CI", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "PYTHONPATH"):
        kept.pop(name, None)
    return {**kept, "NO_PROXY": "127.0.0.1,localhost", "PYTHONUNBUFFERED": "1", **more}


def command(name: str) -> str:
    """Path of an installed command."""
    return str(BIN / name)
