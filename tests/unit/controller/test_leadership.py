"""Who leads: a living holder is left alone, a dead one replaced, a frozen one ended first."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ci_common.ids import Fence
from ci_common.models import ControllerState, Lease, LeaseHolder
from ci_controller import leadership
from ci_controller.leadership import Sighting, sight
from tests.fakes.memory_repository import MemoryRepository


def lease_of(holder: LeaseHolder, beat: int = 1) -> Lease:
    return Lease(Fence(1), holder, beat, datetime(2026, 1, 1, tzinfo=UTC), ControllerState.READY, "")


def holder_of(pid: int) -> LeaseHolder:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    return replace(leadership.this_process(), pid=pid, start_ticks=int(stat.rpartition(")")[2].split()[19]))


def test_a_beat_that_moves_begins_a_new_sighting() -> None:
    holder = leadership.this_process()
    first = sight(lease_of(holder, 1), None, 10.0)
    assert sight(lease_of(holder, 1), first, 15.0) == first
    assert sight(lease_of(holder, 2), first, 15.0) == Sighting(Fence(1), 2, 15.0)


def test_this_process_is_alive_and_its_number_alone_proves_nothing() -> None:
    holder = leadership.this_process()
    assert leadership.is_alive(holder)
    assert not leadership.is_alive(replace(holder, start_ticks=holder.start_ticks - 1))
    assert not leadership.is_alive(replace(holder, boot_id="another boot"))


@pytest.fixture
def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])


def test_ending_a_holder_kills_that_process_alone(sleeper: subprocess.Popen[bytes]) -> None:
    holder = holder_of(sleeper.pid)
    leadership.end(replace(holder, start_ticks=holder.start_ticks + 1))
    assert sleeper.poll() is None
    os.kill(sleeper.pid, signal.SIGSTOP)
    leadership.end(holder)
    assert sleeper.wait() == -signal.SIGKILL


async def test_the_lease_of_a_dead_process_is_taken_at_once(sleeper: subprocess.Popen[bytes]) -> None:
    repository = MemoryRepository()
    await repository.initialize()
    first = await repository.take_lease(holder_of(sleeper.pid), None)
    sleeper.kill()
    sleeper.wait()
    second = await leadership.take(repository)
    assert second.fence == first.fence + 1
    assert second.holder == leadership.this_process()
