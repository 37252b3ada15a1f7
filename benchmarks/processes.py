"""What Linux tells of a process: processor time and memory, from /proc."""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.02


def cpu_seconds(pid: int) -> float:
    """Processor time that the process has used, of its ended children too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_SECOND


def resident_kib(pid: int) -> int:
    """Memory that is resident now."""
    return _kib(Path(f"/proc/{pid}/status"), "VmRSS")


def proportional_kib(pid: int) -> int:
    """Resident memory, pages that n processes share counted as an n-th."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def peak_kib(pid: int) -> int:
    """The most that was resident since the start, or since `forget_peak`."""
    return _kib(Path(f"/proc/{pid}/status"), "VmHWM")


def forget_peak(pid: int) -> None:
    """Let `peak_kib` begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _kib(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"{path} says nothing of {name}: the process has ended")


@dataclass(slots=True)
class PeakWatch:
    """Peak memory of a process that ends by itself, seen from a thread.

    Not `ru_maxrss`: that one counts the parent's memory at the moment of the fork, too.
    """

    pid: int
    kib: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Look until the process has ended or `stop` is called."""
        while not self._ended.wait(_LOOK_SECONDS):
            try:
                self.kib = max(self.kib, peak_kib(self.pid))
            except (FileNotFoundError, ProcessLookupError):
                return

    def stop(self) -> None:
        """End `run`."""
        self._ended.set()
