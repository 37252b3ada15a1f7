"""How much memory the machine has left, as Linux tells it."""

from pathlib import Path
from typing import Final

MEMINFO: Final = Path("/proc/meminfo")
SHORT_SHARE: Final = 0.1
"""With less of the memory left, what only waits has to go."""


def is_short(meminfo: Path = MEMINFO) -> bool:
    """Whether little memory is left; False where the machine doesn't tell."""
    try:
        text = meminfo.read_text("ascii")
    except OSError:
        return False
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if not {"MemTotal", "MemAvailable"} <= values.keys():
        return False
    total_kib, available_kib = (int(values[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    return available_kib < total_kib * SHORT_SHARE
