"""Process 1 of every container: takes the files, runs the steps, frames whatever happens, ends.

Installed as `/opt/ci/runner.py` with its parts (`runner_*.py`) beside it and started as
`python3 -I -S /opt/ci/runner.py`: the standard library alone, any Python from 3.9 on. It is root with
SETUID, SETGID, KILL and CHOWN and nothing else; what comes from a stranger is touched only by children
that have become the job's user. It kills everybody whom it sees, so it refuses to be anything but
process 1 of a pid namespace.

stdin: 4 bytes big-endian length and the JSON spec (`runner_spec.py` lists its fields), then the files
(`runner_upload.py`). stdout: lines `<number> <kind> <payload>` (`frames.py` lists the kinds).

Invariants:
- No step runs before all files have arrived and been verified.
- One `waitpid` loop and one `select`; no threads, no `subprocess`. A step ends with its own process,
  whoever else holds the pipe: everybody left is killed first, so that the pipe's rest is finite.
- An engine that takes no output stops the reading of more, never the limits.
- A lone line is framed at once; only behind a short read the next one waits a millisecond, so that a
  flood of short writes makes few frames.
- The last frame comes after everybody else is dead; where there is none, the machine was at fault.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # `-I` leaves it out
sys.dont_write_bytecode = True  # a container starts once

from runner_disk import DiskWatch
from runner_processes import Children, Frames, Output, Signals, become, oom_kills
from runner_setup import give_folders, has_marker, name_user, write_config, write_marker
from runner_upload import RefusedError, UnfedError, Upload, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 1
GRACE_SECONDS = 10.0
TICK_SECONDS = 0.25
SPEC_READ_BYTES = 65536
TAIL_BYTES = 300
NOTICE_CHARACTERS = 2000
SIGKILLED = 128 + signal.SIGKILL
SHARED_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run/lock")
NO_MODULE = b"No module named pytest"
FIND_PYTEST = "import importlib.util as u, sys; sys.exit(u.find_spec('pytest.__main__') is None)"


class Step:
    """One command of the spec."""

    def __init__(self, phase: str, argv: list[str], environment: dict[str, str], cwd: str) -> None:
        self.phase = phase
        self.argv = argv
        self.environment = environment
        self.cwd = cwd


class Spec:
    """What to do, as `runner_spec.py` writes it."""

    def __init__(self, text: bytes) -> None:
        fields = json.loads(text)
        if fields["version"] != VERSION:
            sys.exit(f"this runner reads specs of version {VERSION}, not {fields['version']}")
        self.uid: int = fields["uid"]
        self.gid: int = fields["gid"]
        self.home: str = fields["home"]
        self.workspace: str = fields["workspace"]
        self.writable: list[str] = fields["writable"]
        self.config_files: dict[str, str] = fields["config_files"]
        self.ca_bundle: str | None = fields["ca_bundle"]
        self.time_limit_seconds: float = fields["time_limit_seconds"]
        self.log_limit_bytes: int | None = fields["log_limit_bytes"]
        self.disk_limit_bytes: int | None = fields["disk_limit_bytes"]
        self.require_marker: str | None = fields["require_marker"]
        self.write_marker: str | None = fields["write_marker"]
        self.steps = [
            Step(step["phase"], step["argv"], {**fields["environment"], **step["environment"]}, step["cwd"])
            for step in fields["steps"]
        ]


def execute(spec: Spec, step: Step, output: int) -> None:
    """Become the step's command; what hinders that is output, and ends as a shell would have it."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    become(spec.uid, spec.gid)
    argv = [encode(word) for word in step.argv]
    environment = {encode(name): encode(value) for name, value in step.environment.items()}
    try:
        os.chdir(step.cwd)
        os.execvpe(argv[0], argv, environment)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        os.write(2, encode(f"ci: cannot run {step.argv[0]} in {step.cwd}: {why}\n"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def encode(text: str) -> bytes:
    """As UTF-8, whatever the image's locale is."""
    return text.encode("utf-8", "surrogateescape")


def unpack_stdin(spec: Spec) -> tuple[str | None, str, int]:
    """Fill the workspace: the end that this means, None for none, why, and the files' bytes."""
    with open(0, "rb", closefd=False) as stdin:
        try:
            return None, "", unpack(Upload(stdin), spec.workspace, spec.disk_limit_bytes)
        except UnfedError as error:
            return "unfed", str(error), 0
        except RefusedError as error:
            return error.end, str(error), 0


class Runner:
    """One container's life from its spec to its last frame."""

    def __init__(self, spec: Spec, frames: Frames, signals: Signals, ready_at: float) -> None:
        self._spec = spec
        self._frames = frames
        self._signals = signals
        self._children = Children(signals, frames)
        began = time.monotonic()
        self._deadline = began + spec.time_limit_seconds
        self._moments = {"runner_ready": ready_at, "feeding_began": began}
        """What is told with the next frame that tells moments, by the monotonic clock."""
        self._fed_at = began
        self._disk: DiskWatch | None = None
        self._output_bytes = 0
        self._tail = b""
        self._limit: str | None = None
        """The end that a limit has brought about."""
        self._kill_at: float | None = None
        """Set once SIGTERM was passed on."""
        self._phase: str | None = None
        self._exit_code: int | None = None
        self._oom_kills = 0

    @property
    def _is_terminated(self) -> bool:
        return self._kill_at is not None

    def work(self) -> dict[str, object]:
        """Take the files and run the steps; the last frame's fields."""
        return {
            "end": self._work(),
            "phase": self._phase,
            "exit_code": self._exit_code,
            "oom_kills": self._oom_kills,
            "terminated": self._is_terminated,
            "since_fed_seconds": self._since_fed_seconds(),
        }

    def _work(self) -> str:
        spec = self._spec
        name_user(spec.uid, spec.gid, spec.home)
        give_folders([spec.home, spec.workspace, *spec.writable], spec.uid, spec.gid)
        write_config(spec.config_files, spec.ca_bundle)
        end = self._take_files()
        if end is None and spec.require_marker is not None and not has_marker(spec.require_marker):
            end = "environment_missing"
        for step in spec.steps:
            end = end or self._take_step(step)
        if end is None and spec.write_marker is not None:
            write_marker(spec.write_marker)
        return end or "exited"

    def _take_files(self) -> str | None:
        spec, report = self._spec, bytearray()

        def receive(output: int) -> None:
            become(spec.uid, spec.gid)
            os.write(output, json.dumps(unpack_stdin(spec)).encode("ascii"))

        self._run(receive, report.extend, None)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if self._limit or self._is_terminated:
            return self._limit or "terminated"
        if not report:
            sys.exit("the process that unpacks the files has died")
        end, why, size_bytes = json.loads(report)
        if end == "unfed":
            return end
        self._fed_at = time.monotonic()
        self._frames.tell("fed", since_fed_seconds=self._since_fed_seconds())
        if end is not None:
            self._frames.tell("notice", text=f"The files can't be used: {why}"[:NOTICE_CHARACTERS])
        elif spec.disk_limit_bytes is not None:
            folders = {spec.home, spec.workspace, *spec.writable, *SHARED_FOLDERS}
            self._disk = DiskWatch(folders, spec.uid, spec.gid, spec.disk_limit_bytes, size_bytes)
        return end

    def _since_fed_seconds(self) -> dict[str, float]:
        moments, self._moments = self._moments, {}
        return {name: round(moment - self._fed_at, 6) for name, moment in moments.items()}

    def _take_step(self, step: Step) -> str | None:
        self._phase = step.phase
        kills_before = oom_kills()
        self._moments.setdefault(step.phase + "_began", time.monotonic())
        status = self._run(lambda output: execute(self._spec, step, output), self._show, self._disk)
        self._moments[step.phase + "_ended"] = time.monotonic()
        kills = oom_kills() - kills_before
        self._oom_kills += kills
        self._exit_code = None if self._limit else shell_code(status)
        was_interrupted = self._limit is not None or self._is_terminated
        lacked_memory = kills > 0 and not was_interrupted and self._exit_code == SIGKILLED
        self._tell_kills(kills - 1 if lacked_memory else kills)
        if was_interrupted:
            return self._limit or "terminated"
        if lacked_memory:
            return "out_of_memory"
        if self._exit_code == 0:
            return None
        if step.phase == "install":
            return "install_failed"
        return "pytest_missing" if self._lacks_pytest(step) else "exited"

    def _tell_kills(self, count: int) -> None:
        if count == 0:
            return
        what = "a process of the job was" if count == 1 else f"{count} processes of the job were"
        self._frames.tell("notice", text=f"The job reached its memory limit: {what} killed by the kernel")

    def _lacks_pytest(self, step: Step) -> bool:
        """Whether what looks like it really is `python -m pytest` without a pytest."""
        if self._exit_code != 1 or step.argv[1:3] != ["-m", "pytest"] or NO_MODULE not in self._tail:
            return False
        look = Step(step.phase, [step.argv[0], "-c", FIND_PYTEST], step.environment, step.cwd)
        return shell_code(self._run(lambda output: execute(self._spec, look, output), ignore, None)) == 1

    def _show(self, data: bytes) -> None:
        limit_bytes = self._spec.log_limit_bytes
        if limit_bytes is not None and self._output_bytes + len(data) > limit_bytes:
            data = data[: limit_bytes - self._output_bytes]
            self._limit = self._limit or "log_limit"
        self._output_bytes += len(data)
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        assert self._phase is not None, "only steps have output"
        self._frames.output(self._phase, data)

    def _run(
        self, work: Callable[[int], None], take: Callable[[bytes], None], disk: DiskWatch | None
    ) -> int | None:
        """Do `work` in a child, give what it writes to `take`, and end whatever it leaves behind; how it
        ended, as `waitpid` has it."""
        reader, writer = os.pipe()
        os.fchown(writer, self._spec.uid, self._spec.gid)  # so that it can open /dev/stdout
        if disk:
            disk.begin()
        self._children.begin(lambda: work(writer))
        os.close(writer)
        output = Output(reader, take)
        self._attend(output, disk)
        if not self._children.end_all():
            sys.exit("a process of the job can't be ended")
        output.drain()
        os.close(reader)
        if disk:
            disk.end()
        return self._children.status

    def _attend(self, output: Output, disk: DiskWatch | None) -> None:
        """Stay until the main process has ended or must end."""
        while self._children.status is None and not self._is_time_up():
            readable = self._wait(output, disk)
            if self._signals.fd in readable:
                self._signals.clear()
                self._children.reap()
            if output.fd in readable:
                output.read()
            if disk and disk.tick(readable):
                self._limit = "disk_limit"
            if self._signals.stop_requested and not self._is_terminated and self._children.status is None:
                self._kill_at = time.monotonic() + GRACE_SECONDS
                self._children.ask_to_stop()

    def _is_time_up(self) -> bool:
        now = time.monotonic()
        if now >= self._deadline and self._limit is None:
            self._limit = "time_limit"
        return self._limit is not None or (self._kill_at is not None and now >= self._kill_at)

    def _wait(self, output: Output, disk: DiskWatch | None) -> list[int]:
        """For whatever comes next; what can be read. Output is left alone while the engine takes none."""
        sources, timeout = [self._signals.fd], TICK_SECONDS
        if disk:
            sources += disk.sources
        delay = None if self._frames.is_full else output.delay(time.monotonic())
        if delay == 0.0:
            sources.append(output.fd)
        elif delay is not None:
            timeout = delay
        readable, writable, _ = select.select(sources, self._frames.waiting, [], timeout)
        if writable:
            self._frames.send()
        return readable


def ignore(_data: bytes) -> None:
    """Take output that nobody wants."""


def shell_code(status: int | None) -> int | None:
    """The exit code that a shell would give for what `waitpid` gave."""
    if status is None:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def read_spec(frames: Frames, signals: Signals) -> bytes | None:
    """What comes first on stdin; None where it ends early, or the runner is to stop."""
    wanted, head, data = 4, b"", b""
    while len(data) < wanted:
        readable, writable, _ = select.select([0, signals.fd], frames.waiting, [])
        if writable:
            frames.send()
        if signals.stop_requested:
            return None
        if 0 in readable:
            piece = os.read(0, min(wanted - len(data), SPEC_READ_BYTES))
            if not piece:
                return None
            data += piece
            if not head and len(data) == wanted:
                head, data, wanted = data, b"", int.from_bytes(data, "big")
    return data


def main() -> None:
    """The container's life."""
    if os.getpid() != 1:
        sys.exit("the runner kills all processes that it sees: it must be process 1 of a container")
    os.umask(0o022)
    frames, signals = Frames(1), Signals()
    ready_at = time.monotonic()
    frames.tell("hello", version=VERSION)
    text = read_spec(frames, signals)
    if text is not None:
        last = Runner(Spec(text), frames, signals, ready_at).work()
    else:
        end = "terminated" if signals.stop_requested else "unfed"
        last = {"end": end, "phase": None, "exit_code": None, "oom_kills": 0}
        last["terminated"] = signals.stop_requested
    frames.tell("end", **last)
    frames.send_all()


if __name__ == "__main__":
    main()
