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
from collections.abc import Iterator, Sequence
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
from ci_controller.engine_errors import ImageMissing, StartFailed, VolumeMissing
from ci_controller.frames import FRAMES_VERSION
from ci_controller.readiness import EngineReadiness, Site
from ci_controller.settings import ControllerSettings
from ci_controller.slots import Slots
from ci_controller.warm_plan import Blank, Stock, expected_environments, next_step

_WORTH_WAITING_SECONDS = 3.0
"""Longer than that, a container is made on the spot more quickly."""
_CLOSE_SECONDS = 5.0
_LONGEST_DELAY_SECONDS = 60.0
"""Between tries, where nothing can be started."""

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
        self._suspects: set[ContainerId] = set()
        """Something has happened to them."""
        self._promised: set[VolumeName] = set()
        """Their testers wait for jobs that fill them, though the database may not tell yet."""
        self._kept_promises: set[VolumeName] = set()
        """Those whose jobs are bound by now, or will never be: the database tells the rest."""
        self._wish: VolumeName | Blank | None = None
        self._making: asyncio.Task[None] | None = None
        """Makes what `_wish` says."""
        self._step: asyncio.Task[bool] | None = None
        """Is never cancelled: what it takes out of the stock, it also takes out of the engine."""
        self._failures = 0
        self._not_before = 0.0
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
        self._promised.add(pair.tester.volume)
        return await self._usable(pair.installer)

    async def _usable(self, waiting: Waiting | None) -> Waiting | None:
        if waiting is None or waiting.site == self._readiness.site:
            return waiting
        await self._give_up([waiting])
        return None

    async def _made(self) -> None:
        """What is being made is there, or isn't worth waiting for."""
        if self._making is not None:
            await asyncio.wait([self._making], timeout=_WORTH_WAITING_SECONDS)

    def let_go(self, waiting: Waiting) -> None:
        """It is bound to a job, or nobody's."""
        self.names.discard(waiting.name)
        self.volumes.discard(waiting.volume)
        self._slots.release(waiting.slot)
        if waiting.volume in self._promised:
            self._kept_promises.add(waiting.volume)

    # Keeping

    def tend_soon(self) -> None:
        """Something was taken, has ended, or can be started now."""
        self._news.set()

    def has_changed(self, container_id: ContainerId) -> None:
        """Something has happened to a container: where it waits here, it is looked at."""
        if any(waiting.container_id == container_id for waiting in self._all()):
            self._suspects.add(container_id)
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
        """Give everything up; what the engine doesn't do soon, the next leader asks for again."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._step is not None:
                    await asyncio.wait([self._step])
                await self._give_up(self._taken_out(list(self._all())))
        except TimeoutError:
            _log.info("the engine is slow: what was started ahead stays for the next controller")

    async def _tend(self) -> bool:
        """Take one step; whether another may be due."""
        await self._look_at_suspects()
        settled = set(self._kept_promises)
        expected = await self._expected()
        # Nothing is awaited from here to the decision: a job may take something at any other time.
        site = self._readiness.site
        given_up = self._taken_out([waiting for waiting in self._all() if waiting.site != site])
        limit = 0 if site is None or machine_memory.is_short() else self._limit
        stock = Stock(frozenset(self._testers), self._blank is not None)
        step = next_step(stock, list(dict.fromkeys([*self._promised, *expected])), limit)
        self._promised -= settled
        self._kept_promises -= settled
        given_up += self._taken_out([self._testers[volume] for volume in step.drop])
        if step.drop_blank and self._blank is not None:
            given_up += self._taken_out([self._blank.installer])
        await self._give_up(given_up)
        may_make = site is not None and asyncio.get_running_loop().time() >= self._not_before
        if step.make is None or site is None or not may_make:
            return False
        return await self._try_to_make(step.make, site)

    async def _look_at_suspects(self) -> None:
        while self._suspects:
            container_id = self._suspects.pop()
            view = await self._manager.inspect(container_id)
            if view is None or view.status.has_ended:
                broken = [waiting for waiting in self._all() if waiting.container_id == container_id]
                await self._give_up(self._taken_out(broken))

    async def _expected(self) -> list[VolumeName]:
        running = await self._repository.running_jobs()
        environments = await self._repository.list_environments()
        return list(expected_environments(running, environments, utc_now(), self._max_age))

    def _all(self) -> Iterator[Waiting]:
        yield from self._testers.values()
        if self._blank is not None:
            yield self._blank.installer
            yield self._blank.tester

    def _taken_out(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Out of the stock; of a blank, both go."""
        out: list[Waiting] = []
        for each in waiting:
            if self._blank is not None and each in {self._blank.installer, self._blank.tester}:
                out += [self._blank.installer, self._blank.tester]
                self._blank = None
            elif self._testers.get(each.volume) == each:
                out.append(self._testers.pop(each.volume))
        return out

    async def _give_up(self, waiting: Sequence[Waiting]) -> None:
        """Remove what is out of the stock already. What fails here is a leftover, and housekeeping's."""
        for each in waiting:
            self.let_go(each)
        for each in waiting:
            try:
                await self._manager.remove(each.container_id)
            except CIError as problem:
                _log.info("%s stays for now: %s", each.name, problem)

    # Making

    async def _try_to_make(self, wish: VolumeName | Blank, site: Site) -> bool:
        self._wish = wish
        self._making = asyncio.create_task(self._make(wish, site), name="start ahead")
        await asyncio.wait([self._making])
        self._wish = None
        problem = self._making.exception()
        if problem is None:
            self._failures = 0
            return True
        if not isinstance(problem, CIError):
            raise problem
        _log.info("nothing is started ahead at present: %s", problem)
        self._failures += 1
        delay_seconds = min(_LONGEST_DELAY_SECONDS, 2.0**self._failures)
        self._not_before = asyncio.get_running_loop().time() + delay_seconds
        if isinstance(problem, VolumeMissing) and not isinstance(wish, Blank):
            await self._repository.forget_environment(self._fence, wish)
        elif isinstance(problem, ImageMissing):
            self._readiness.begin_again()
        return False

    async def _make(self, wish: VolumeName | Blank, site: Site) -> None:
        if isinstance(wish, Blank):
            self._blank = await self._make_pair(site)
        else:
            assert wish not in self._testers, "one that waits is not made again"
            self._testers[wish] = await self._start(EnvironmentMount(wish, read_only=True), site)

    async def _make_pair(self, site: Site) -> _Pair:
        volume = new_volume_name(self._instance)
        self.volumes.add(volume)
        try:
            await self._manager.create_volume(volume)
            installer = await self._start(EnvironmentMount(volume, read_only=False), site)
            try:
                return _Pair(installer, await self._start(EnvironmentMount(volume, read_only=True), site))
            except CIError:
                await self._give_up([installer])
                raise
        except CIError:
            self.volumes.discard(volume)
            raise

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
            if not await self._manager.start(container_id):
                raise StartFailed(f"container {name} is gone before its start")
        except CIError:
            # What the engine has made of it all the same is a leftover from now on.
            self.names.discard(name)
            self._slots.release(slot)
            raise
        return Waiting(container_id, name, slot, site, environment.volume)
