"""Containers that are started before their jobs come, so that a job finds its runner waiting.

Nothing here is needed for a job to run: whatever is missing, gone or outdated means a container made on
the spot. Invariants:

- A container serves one job at most: it leaves the stock before anything is awaited, is bound to the job by
  a fenced write, and only then fed. No two users meet in one, for an environment is one user's.
- It belongs to one leadership. Those of a dead one are found by their role and removed, never fed
  (`housekeeping`). A name is known here before the engine hears of it, and until its container is bound or
  gone, so that nobody takes it for such a leftover.
- It is given up when the engine is no longer what it was started for, when nobody will want its environment
  any more, and when memory is short.

Only the event loop's thread touches this; one task makes containers, one wish after the other.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from ci_common.clock import utc_now
from ci_common.errors import CIError
from ci_common.ids import ContainerId, Fence, InstanceId, VolumeName
from ci_common.repository import ControllerRepository
from ci_controller import machine_memory
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import ContainerRequest, EnvironmentMount, JobLimits
from ci_controller.container_view import Role
from ci_controller.frames import FRAMES_VERSION
from ci_controller.readiness import EngineReadiness, Site
from ci_controller.settings import ControllerSettings
from ci_controller.slots import Slots
from ci_controller.warm_plan import Blank, Stock, expected_environments, next_step

_log = logging.getLogger(__name__)


def new_volume_name(instance: InstanceId) -> VolumeName:
    """A name for an environment's volume that was never used."""
    return VolumeName(f"ci-env-{instance[:8]}-{uuid.uuid4().hex}")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A container whose runner waits for its spec."""

    container_id: ContainerId
    name: str
    slot: int
    site: Site
    volume: VolumeName


@dataclass(frozen=True, slots=True)
class _Pair:
    """A blank: two containers on one empty volume."""

    installer: Waiting
    tester: Waiting


class WarmPool:
    """What waits under one leadership."""

    def __init__(
        self,
        repository: ControllerRepository,
        manager: ContainerManager,
        readiness: EngineReadiness,
        slots: Slots,
        settings: ControllerSettings,
        instance: InstanceId,
        fence: Fence,
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._readiness = readiness
        self._slots = slots
        self._limit = settings.warm_containers
        self._max_age = timedelta(seconds=settings.env_max_age_seconds)
        self._limits = JobLimits(settings.job_memory, settings.cpus, settings.job_pids)
        self._instance = instance
        self._fence = fence
        self._news = asyncio.Event()
        self._testers: dict[VolumeName, Waiting] = {}
        self._blank: _Pair | None = None
        self._wish: VolumeName | Blank | None = None
        self._making: asyncio.Task[None] | None = None
        """Makes what `_wish` says."""
        self._step: asyncio.Task[bool] | None = None
        """Is never cancelled: what it takes out of the stock, it also takes out of the engine."""
        self.names: set[str] = set()
        """Of containers that are nobody's leftovers, though no job is bound to them."""
        self.volumes: set[VolumeName] = set()
        """Empty ones that wait to become environments."""

    # Taking

    async def take_tester(self, volume: VolumeName) -> Waiting | None:
        """A container that can test on this environment, to be let go of afterwards."""
        if volume not in self._testers and self._wish == volume:
            await self._made()
        return await self._usable(self._testers.pop(volume, None))

    async def take_installer(self) -> Waiting | None:
        """A container with an empty volume, to be let go of afterwards; its twin will test on it."""
        if self._blank is None and isinstance(self._wish, Blank):
            await self._made()
        pair, self._blank = self._blank, None
        if pair is None:
            return None
        self._testers[pair.tester.volume] = pair.tester
        return await self._usable(pair.installer)

    async def _usable(self, waiting: Waiting | None) -> Waiting | None:
        if waiting is None or waiting.site == self._readiness.site:
            return waiting
        await self._discard(waiting)
        return None

    async def _made(self) -> None:
        if self._making is not None:
            await asyncio.wait([self._making])

    def let_go(self, waiting: Waiting) -> None:
        """It is bound to a job, or nobody's."""
        self.names.discard(waiting.name)
        self.volumes.discard(waiting.volume)
        self._slots.release(waiting.slot)

    # Keeping

    def tend_soon(self) -> None:
        """Something was taken, has ended, or can be started now."""
        self._news.set()

    async def keep(self) -> None:
        """Keep the stock as it should be, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            is_another_due = True
            while is_another_due:
                self._step = asyncio.create_task(self._tend(), name="warm pool")
                await asyncio.wait([self._step])
                is_another_due = self._step.result()

    async def close(self) -> None:
        """Give everything up; what the engine doesn't do now, the next leader asks for again."""
        if self._step is not None:
            await asyncio.wait([self._step])
        for waiting in list(self._all()):
            try:
                await self._drop(waiting)
            except CIError as problem:
                _log.info("%s stays: %s", waiting.name, problem)

    async def has_changed(self, container_id: ContainerId) -> None:
        """Something has happened to a container: where it waits here and has ended, give it up."""
        for waiting in list(self._all()):
            if waiting.container_id == container_id:
                view = await self._manager.inspect(container_id)
                if view is None or view.status.has_ended:
                    await self._drop(waiting)
                    self.tend_soon()

    async def _tend(self) -> bool:
        """Take one step; whether another may be due."""
        site = self._readiness.site
        for waiting in list(self._all()):
            if waiting.site != site:
                await self._drop(waiting)
        stock = Stock(frozenset(self._testers), self._blank is not None)
        limit = 0 if site is None or machine_memory.is_short() else self._limit
        step = next_step(stock, await self._expected(), limit)
        for waiting in list(self._testers.values()):
            if waiting.volume in step.drop:
                await self._drop(waiting)
        if step.drop_blank and self._blank is not None:
            await self._drop(self._blank.installer)
        if site is None or step.make is None:
            return False
        self._wish = step.make
        self._making = asyncio.create_task(self._make(step.make, site), name="start ahead")
        try:
            await asyncio.wait([self._making])
            self._making.result()
        finally:
            self._wish = None
        return True

    async def _expected(self) -> list[VolumeName]:
        running = await self._repository.running_jobs()
        environments = await self._repository.list_environments()
        return list(expected_environments(running, environments, utc_now(), self._max_age))

    def _all(self) -> Iterator[Waiting]:
        yield from self._testers.values()
        if self._blank is not None:
            yield self._blank.installer
            yield self._blank.tester

    # Making and giving up

    async def _make(self, wish: VolumeName | Blank, site: Site) -> None:
        if isinstance(wish, Blank):
            volume = new_volume_name(self._instance)
            self.volumes.add(volume)
            await self._manager.create_volume(volume)
            installer = await self._start(EnvironmentMount(volume, read_only=False), site)
            try:
                tester = await self._start(EnvironmentMount(volume, read_only=True), site)
            except BaseException:
                await self._discard(installer)
                raise
            self._blank = _Pair(installer, tester)
        else:
            self._testers[wish] = await self._start(EnvironmentMount(wish, read_only=True), site)

    async def _start(self, environment: EnvironmentMount, site: Site) -> Waiting:
        slot = self._slots.reserve()
        name = f"ci-warm-{uuid.uuid4().hex}"
        self.names.add(name)
        request = ContainerRequest(
            name=name,
            image=site.image,
            role=Role.WARM,
            job_id=None,
            fence=self._fence,
            attempt=0,
            slot=slot,
            limits=self._limits,
            network=site.network,
            environment=environment,
            frames_version=FRAMES_VERSION,
        )
        try:
            container_id = await self._manager.create(request)
            await self._manager.start(container_id)
        except BaseException:
            # What the engine has made of it all the same is a leftover from now on.
            self.names.discard(name)
            self._slots.release(slot)
            raise
        return Waiting(container_id, name, slot, site, environment.volume)

    async def _drop(self, waiting: Waiting) -> None:
        """Out of the stock, then out of the engine; of a blank, both."""
        pair = self._blank
        if pair is not None and waiting in {pair.installer, pair.tester}:
            self._blank = None
            await self._discard(pair.tester)
            await self._discard(pair.installer)
            await self._manager.remove_volume(waiting.volume)
        elif self._testers.get(waiting.volume) == waiting:
            del self._testers[waiting.volume]
            await self._discard(waiting)

    async def _discard(self, waiting: Waiting) -> None:
        try:
            await self._manager.remove(waiting.container_id)
        finally:
            self.let_go(waiting)
