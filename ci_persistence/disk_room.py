"""How much of a disk uploads may take: what must stay free, and what must be free to keep more than needed.

Both are bounded, so that neither grows with a large disk beyond what anybody needs.
"""

import os
from dataclasses import dataclass
from pathlib import Path

RESERVE_BYTES = 256 << 20
"""Free disk below which nothing more is received; at most a twentieth of the file system."""
_PLENTY_BYTES = 32 << 30
_PLENTY_PERCENT = 15


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system."""

    total_bytes: int
    free_bytes: int
    """What we may still write."""

    def reserve_bytes(self, most_bytes: int = RESERVE_BYTES) -> int:
        """What must stay free."""
        return min(most_bytes, self.total_bytes // 20)

    @property
    def plenty_bytes(self) -> int:
        """What must be free for keeping what nobody needs for certain."""
        return min(_PLENTY_BYTES, self.total_bytes * _PLENTY_PERCENT // 100)


def disk_of(folder: Path) -> Disk:
    """The disk of `folder`, as it is now."""
    found = os.statvfs(folder)
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)
