"""One container's log on its way into the database: nothing lost, nothing twice.

What the engine's log holds is decoded, and stored together with the position behind it in one
transaction; after a crash the next pump reads the same log from its start and skips what is stored.
A lone line is stored at once; what arrives while a commit is under way goes into the next. After a
commit with more behind it the pump pauses shortly, for SQLite gives the write lock to whoever asks
first, and a flood would keep others waiting.

Called by `ci_controller.attempts` alone, one pump a container.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing

from ci_common.event_data import EventData, log_data, notice_data
from ci_common.ids import ContainerId, Fence, JobId
from ci_common.job_times import Stopwatch
from ci_common.models import Environment, Job, LogPosition, Verdict
from ci_common.repository import ControllerRepository
from ci_controller.container_manager import ContainerManager
from ci_controller.frames import Batch, FrameDecoder, RunnerResult
from ci_controller.observation import Observation
from ci_controller.settle import (
    Drained,
    EnvironmentGone,
    Installed,
    LastWord,
    Lost,
    NeverFed,
    Settlement,
    Unbound,
)

MAX_EVENT_CHARACTERS = 256 * 1024
"""A flood is cut into events of this size, so that no reader has to take more at once."""
MAX_UNSTORED_BYTES = 4 << 20
PAUSE_IN_FLOOD_SECONDS = 0.002
RECONNECT_SECONDS = 0.2


Settle = Callable[[Job, RunnerResult], Settlement]
"""Judges a result for the job as it is now."""


class Pump:
    """Follows the container that `job` is bound to."""

    def __init__(
        self,
        repository: ControllerRepository,
        manager: ContainerManager,
        fence: Fence,
        job: Job,
        settle: Settle,
        environment: Callable[[Job], Environment],
        watch: Stopwatch,
    ) -> None:
        assert job.run is not None, f"job {job.id} is bound to no container"
        self._repository = repository
        self._manager = manager
        self._fence = fence
        self._job = job
        self._job_id: JobId = job.id
        self._container_id: ContainerId = job.run.container_id
        self._position: LogPosition = job.run.position
        self._settle = settle
        self._environment = environment
        self._observation = Observation(watch, job.run.stage)

    async def run(self) -> LastWord:
        """Store everything until the container's last word.

        Raises:
            FenceLost: another controller leads.
            EngineUnavailable: the engine went away; a later pump goes on.
        """
        while True:
            decoder = FrameDecoder(self._position)
            end = await self._follow(decoder)
            if end is not None:
                return end
            container = await self._manager.inspect(self._container_id)
            if container is None or container.status.has_ended:
                # It may have written between the log's end and its own: one more look from the start.
                decoder = FrameDecoder(self._position)
                end = await self._follow(decoder)
                return end or await self._store(decoder.finish()) or Drained()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _follow(self, decoder: FrameDecoder) -> LastWord | None:
        # Closed in this order: the gatherer's reader must have stopped before what it reads is closed.
        async with (
            aclosing(self._manager.follow(self._container_id)) as log,
            aclosing(_gather(log)) as gathered,
        ):
            async for data, more_waits in gathered:
                end = await self._store(decoder.feed(data))
                if end is not None:
                    return end
                if more_waits():
                    await asyncio.sleep(PAUSE_IN_FLOOD_SECONDS)
        return None

    async def _store(self, batch: Batch) -> LastWord | None:
        if batch.is_empty and batch.position == self._position:
            return None
        times = self._observation.take(batch)
        settlement = None if batch.result is None else self._settle(self._job, batch.result)
        if isinstance(settlement, Lost | NeverFed | EnvironmentGone) and not events_of(batch):
            # The step that follows is another transaction: after a crash between, it is read again.
            return settlement
        job = await self._repository.append(
            self._fence,
            self._job_id,
            self._container_id,
            events_of(batch),
            batch.position,
            fed=batch.fed,
            verdict=settlement if isinstance(settlement, Verdict) else None,
            environment=self._environment(self._job) if isinstance(settlement, Installed) else None,
            times=times,
        )
        if job is None:
            return Unbound()
        self._job = job
        self._position = batch.position
        return settlement


def events_of(batch: Batch) -> Sequence[EventData]:
    """The events that tell what `batch` holds."""
    events = [
        log_data(phase, text[start : start + MAX_EVENT_CHARACTERS])
        for phase, text in batch.chunks
        for start in range(0, len(text), MAX_EVENT_CHARACTERS)
    ]
    return [*events, *(notice_data(text) for text in batch.notices)]


async def _gather(log: AsyncIterator[bytes]) -> AsyncGenerator[tuple[bytes, Callable[[], bool]], None]:
    """All that has come since the last turn of the loop, joined; beside it, whether more has come."""
    parts: list[bytes] = []
    arrived, taken = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        try:
            async for data in log:
                parts.append(data)
                arrived.set()
                while sum(map(len, parts)) > MAX_UNSTORED_BYTES:
                    taken.clear()
                    await taken.wait()
        finally:
            arrived.set()

    reader = asyncio.create_task(read(), name="log reader")
    try:
        while True:
            await arrived.wait()
            arrived.clear()
            if parts:
                data = b"".join(parts)
                parts.clear()
                taken.set()
                yield data, arrived.is_set
            elif reader.done():
                reader.result()
                return
            if reader.done():
                arrived.set()
    finally:
        reader.cancel()
        await asyncio.wait([reader])
