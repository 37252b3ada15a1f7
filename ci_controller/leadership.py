"""At most one controller leads; another stands by and takes over when the leader dies or stands still.

The lease row in the database holds who leads (pid, start time, boot), under which fencing number, and a
counter of beats. The standby judges by its own clock since boot, for wall clocks jump: a holder whose
process is gone has lost the lease at once; one whose counter stands still for `STANDSTILL_SECONDS` is
killed first (frozen in the middle of a write it would hold the database's lock for ever), through a
pidfd, so that no innocent process that was given its number is hit. Both live on one host.
"""

import asyncio
import logging
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from ci_common.errors import FenceLost, StorageBusy, StorageFull
from ci_common.ids import Fence
from ci_common.models import ControllerState, Lease, LeaseHolder
from ci_common.repository import ControllerRepository

LOOK_SECONDS = 0.25
BEAT_SECONDS = 1.0
STANDSTILL_SECONDS = 30.0
"""Longer than a backup or a slow disk may hold the write lock, for which a living leader waits."""
DEATH_SECONDS = 5.0

_log = logging.getLogger(__name__)


def this_process() -> LeaseHolder:
    """The running process as a lease names it."""
    start_ticks = _start_ticks(os.getpid())
    assert start_ticks is not None, "this process runs"
    return LeaseHolder(os.getpid(), start_ticks, _boot_id())


@dataclass(frozen=True, slots=True)
class Sighting:
    """A lease as the standby saw it, and since when its beat has stood still."""

    fence: Fence
    beat: int
    since_seconds: float
    """On the clock since boot."""


def sight(lease: Lease, earlier: Sighting | None, now_seconds: float) -> Sighting:
    """What the standby knows after this look."""
    if earlier is not None and (earlier.fence, earlier.beat) == (lease.fence, lease.beat):
        return earlier
    return Sighting(lease.fence, lease.beat, now_seconds)


async def take(repository: ControllerRepository) -> Lease:
    """Wait until this process leads."""
    earlier: Sighting | None = None
    announced = False
    while True:
        lease = await repository.lease()
        if lease is not None and lease.holder is not None and is_alive(lease.holder):
            now_seconds = time.clock_gettime(time.CLOCK_BOOTTIME)
            earlier = sight(lease, earlier, now_seconds)
            if now_seconds - earlier.since_seconds < STANDSTILL_SECONDS:
                if not announced:
                    _log.info("standing by: process %d leads", lease.holder.pid)
                    announced = True
                await asyncio.sleep(LOOK_SECONDS)
                continue
            _log.warning("the leader, process %d, stands still: ending it", lease.holder.pid)
            await asyncio.to_thread(end, lease.holder)
        try:
            return await repository.take_lease(this_process(), None if lease is None else lease.fence)
        except FenceLost:
            _log.info("another controller was quicker")
        except StorageBusy as busy:
            _log.warning("the lease can't be taken yet: %s", busy)
            earlier = None


def is_alive(holder: LeaseHolder) -> bool:
    """Whether the very process that took the lease still runs."""
    return holder.boot_id == _boot_id() and _start_ticks(holder.pid) == holder.start_ticks


def end(holder: LeaseHolder) -> None:
    """Kill the process and return once it is dead; nothing where it is already."""
    try:
        pidfd = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return
    try:
        # Looked at after opening: from here on the descriptor means this one process.
        if is_alive(holder):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], DEATH_SECONDS)
    finally:
        os.close(pidfd)


class Beat:
    """What the lease says of this controller beside that it lives: sent at once when it changes."""

    def __init__(self, lease: Lease) -> None:
        self.fence = lease.fence
        self._state = lease.state
        self._detail = lease.detail
        self._changed = asyncio.Event()

    def say(self, state: ControllerState, detail: str = "") -> None:
        """Tell people what the controller is busy with."""
        if (state, detail) != (self._state, self._detail):
            self._state, self._detail = state, detail
            self._changed.set()

    async def send(self, repository: ControllerRepository) -> None:
        """Write one beat."""
        self._changed.clear()
        await repository.beat(self.fence, self._state, self._detail)

    async def wait(self, timeout_seconds: float) -> None:
        """Until there is news, or the time is over."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._changed.wait()
        except TimeoutError:
            return


async def keep_beating(repository: ControllerRepository, beat: Beat) -> None:
    """Show that this controller lives, until cancelled.

    A beat that finds the database busy is late, no more: whoever has taken over in the meantime has
    also ended this process, or changed the fence, which the next write notices.

    Raises:
        FenceLost: another controller leads.
    """
    while True:
        try:
            await beat.send(repository)
        except (StorageBusy, StorageFull) as problem:
            _log.warning("beat delayed: %s", problem)
        await beat.wait(BEAT_SECONDS)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None for a process that is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in parentheses, which may hold anything.
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in {b"Z", b"X"} else int(fields[19])
