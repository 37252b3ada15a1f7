"""The queue of keys: no key twice at once, none lost, none in another's way."""

import asyncio
from collections import Counter

import pytest

from ci_common.errors import FenceLost
from ci_common.ids import JobId
from ci_controller.work_queue import WorkQueue

A, B = JobId("a"), JobId("b")


class Turns:
    """Turns that wait to be let go, and how many of a key overlap."""

    def __init__(self) -> None:
        self.taken: Counter[JobId] = Counter()
        self.overlaps = 0
        self.let_go = asyncio.Event()
        self.begun = asyncio.Condition()
        self._active: set[JobId] = set()

    async def __call__(self, job_id: JobId) -> None:
        self.overlaps += job_id in self._active
        self._active.add(job_id)
        self.taken[job_id] += 1
        async with self.begun:
            self.begun.notify_all()
        await self.let_go.wait()
        self._active.discard(job_id)

    async def until(self, job_id: JobId, count: int) -> None:
        async with self.begun:
            await self.begun.wait_for(lambda: self.taken[job_id] >= count)


async def test_a_key_added_during_its_turn_gets_one_more_afterwards() -> None:
    turns = Turns()
    queue = WorkQueue(turns)
    queue.add(A)
    await turns.until(A, 1)
    for _ in range(5):
        queue.add(A)
    turns.let_go.set()
    await turns.until(A, 2)
    await queue.close()
    assert turns.taken[A] == 2
    assert turns.overlaps == 0


async def test_different_keys_run_side_by_side() -> None:
    turns = Turns()
    queue = WorkQueue(turns)
    queue.add(A)
    queue.add(B)
    await turns.until(A, 1)
    await turns.until(B, 1)
    turns.let_go.set()
    await queue.close()


async def test_a_failing_key_comes_back_and_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    attempts: Counter[JobId] = Counter()
    again = asyncio.Event()

    async def turn(job_id: JobId) -> None:
        attempts[job_id] += 1
        if job_id == A and attempts[A] == 1:
            raise RuntimeError("poisoned")
        if job_id == A:
            again.set()

    queue = WorkQueue(turn)
    queue.add(A)
    queue.add(B)
    await again.wait()
    await queue.close()
    assert attempts == {A: 2, B: 1}
    assert "poisoned" in caplog.text


async def test_losing_the_lease_in_a_turn_is_fatal() -> None:
    async def turn(job_id: JobId) -> None:
        raise FenceLost(job_id)

    queue = WorkQueue(turn)
    queue.add(A)
    with pytest.raises(FenceLost):
        await queue.fatal
    await queue.close()


async def test_nothing_is_taken_after_the_end() -> None:
    turns = Turns()
    turns.let_go.set()
    queue = WorkQueue(turns)
    queue.add_after(A, 1000)
    await queue.close()
    queue.add(A)
    queue.add_after(B, 0)
    assert not turns.taken
