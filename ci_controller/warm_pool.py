"""Containers that are started before their jobs come, so that a job finds its runner waiting.

Nothing here is needed for a job to run: whatever is missing, gone or outdated means a container made on
the spot. Invariants:

- A container serves one job at most: it leaves the stock before anything is awaited, is bound to the job by
  a fenced write, and only then fed. No two users meet in one, for an environment is one user's, and so is a
  volume with wheels (`seeds`): a job of anybody else's never gets one.
- It belongs to one leadership. Those of a dead one are found by their role and removed, never fed
  (`housekeeping`). A name is known here before the engine hears of it, and until its container is bound or
  gone, so that nobody takes it for such a leftover.
- It is given up when the engine is no longer what it was started for, when nobody will want its environment
  any more, and when memory is short.

Only the event loop's thread touches this; one task makes containers, one wish after the other. Another one
fetches wheels, which takes seconds: only begun while nobody's job runs, and nothing ever waits for it.
"""

import asyncio
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from ci_common.clock import utc_now
from ci_common.errors import CIError
from ci_common.ids import ContainerId, Fence, InstanceId, UserId, VolumeName
from ci_common.repository import ControllerRepository
from ci_controller import machine_memory
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import NO_NETWORK, ContainerRequest, EnvironmentMount, JobLimits
from ci_controller.container_view import Role
from ci_controller.frames import FRAMES_VERSION
from ci_controller.readiness import EngineReadiness, Site
from ci_controller.seeds import Seed, Seeder
from ci_controller.settings import ControllerSettings
from ci_controller.slots import Slots
from ci_controller.warm_plan import Blank, Wish, expected_environments, in_order, next_step

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
    owner: UserId | None
    """Whose wheels lie on the volume, while it is no environment yet; None for an empty one."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A blank: two containers on one volume."""

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
        seeder: Seeder,
        settings: ControllerSettings,
        instance: InstanceId,
        fence: Fence,
    ) -> None:
        self._repository = repository
        self._manager = manager
        self._readiness = readiness
        self._slots = slots
        self._seeder = seeder
        self._limit = settings.warm_containers
        self._max_age = timedelta(seconds=settings.env_max_age_seconds)
        self._limits = JobLimits(settings.job_memory, settings.cpus, settings.job_pids)
        self._instance = instance
        self._fence = fence
        self._news = asyncio.Event()
        self._testers: dict[VolumeName, Waiting] = {}
        self._blanks: dict[Blank, _Pair] = {}
        self._seed: Seed | None = None
        """What was installed last."""
        self._seeding: tuple[Blank, asyncio.Task[None]] | None = None
        """Makes the blank, wheels first."""
        self._fetching: ContainerId | None = None
        self._wish: Wish | None = None
        self._making: asyncio.Task[None] | None = None
        """Makes what `_wish` says."""
        self._step: asyncio.Task[bool] | None = None
        """Is never cancelled: what it takes out of the stock, it also takes out of the engine."""
        self.names: set[str] = set()
        """Of containers that are nobody's leftovers, though no job is bound to them."""
        self.volumes: set[VolumeName] = set()
        """Those that wait to become environments."""

    # Taking

    async def take_tester(self, volume: VolumeName) -> Waiting | None:
        """A container that can test on this environment, to be let go of afterwards."""
        if volume not in self._testers and self._wish == volume:
            await self._made()
        return await self._usable(self._testers.pop(volume, None))

    async def take_installer(self, user_id: UserId, *, fresh: bool) -> Waiting | None:
        """A container that can fill its volume, to be let go of afterwards; its twin will test on it.

        Where wheels of the user's wait, with these; never with anybody else's, and with none where the
        installation shall be `fresh`.
        """
        seeded = [blank for blank in self._blanks if blank.seed is not None and blank.seed.owner == user_id]
        blank = seeded[0] if seeded and not fresh else Blank()
        if blank not in self._blanks and self._wish == blank:
            await self._made()
        pair = self._blanks.pop(blank, None)
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

    def seed(self, seed: Seed | None) -> None:
        """Packages were installed: fetch their wheels for the next time, once nothing else is to be done."""
        self._seed = seed

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
        self._seed = None
        if self._step is not None:
            await asyncio.wait([self._step])
        await self._end_seeding()
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
        stock = frozenset[Wish]([*self._testers, *self._blanks, *self._blanks_to_come()])
        limit = 0 if site is None or machine_memory.is_short() else self._limit
        step = next_step(stock, await self._wishes(stock, site), limit)
        for volume, waiting in list(self._testers.items()):
            if volume in step.drop:
                await self._drop(waiting)
        for blank, pair in list(self._blanks.items()):
            if blank in step.drop:
                await self._drop(pair.installer)
        if site is None or step.make is None:
            return False
        if isinstance(step.make, Blank) and step.make.seed is not None:
            self._begin_seeding(step.make, step.make.seed, site)
            return True
        self._wish = step.make
        self._making = asyncio.create_task(self._make(step.make, site), name="start ahead")
        try:
            await asyncio.wait([self._making])
            self._making.result()
        finally:
            self._wish = None
        return True

    async def _wishes(self, stock: frozenset[Wish], site: Site | None) -> Sequence[Wish]:
        running = await self._repository.running_jobs()
        environments = await self._repository.list_environments()
        now, seed = utc_now(), self._seed
        if seed is not None:
            has_network = site is not None and site.network != NO_NETWORK
            is_useful = has_network and now - seed.installed_at < self._max_age
            may_begin = not running and self._seeding is None
            if not is_useful or (Blank(seed) not in stock and not may_begin):
                seed = None
        return in_order(expected_environments(running, environments, now, self._max_age), seed)

    def _blanks_to_come(self) -> Iterator[Blank]:
        if self._seeding is not None:
            yield self._seeding[0]

    def _all(self) -> Iterator[Waiting]:
        yield from self._testers.values()
        for pair in self._blanks.values():
            yield pair.installer
            yield pair.tester

    # Making and giving up

    async def _make(self, wish: Wish, site: Site) -> None:
        if isinstance(wish, Blank):
            volume = await self._new_volume()
            self._blanks[wish] = await self._pair(volume, site, self._slots.reserve(), None)
        else:
            mount = EnvironmentMount(wish, read_only=True)
            self._testers[wish] = await self._start(mount, site, self._slots.reserve(), None)

    async def _new_volume(self) -> VolumeName:
        volume = new_volume_name(self._instance)
        self.volumes.add(volume)
        await self._manager.create_volume(volume)
        return volume

    async def _pair(self, volume: VolumeName, site: Site, slot: int, owner: UserId | None) -> _Pair:
        """The containers of a blank; `slot` is the installer's."""
        installer = await self._start(EnvironmentMount(volume, read_only=False), site, slot, owner)
        try:
            mount = EnvironmentMount(volume, read_only=True)
            tester = await self._start(mount, site, self._slots.reserve(), owner)
        except BaseException:
            await self._discard(installer)
            raise
        return _Pair(installer, tester)

    def _begin_seeding(self, blank: Blank, seed: Seed, site: Site) -> None:
        task = asyncio.create_task(self._make_seeded(blank, seed, site), name="fetch wheels")
        self._seeding = (blank, task)

    async def _make_seeded(self, blank: Blank, seed: Seed, site: Site) -> None:
        """Fetch the wheels, then make the blank; what fails isn't tried again."""
        # The installer will have the number that the fetch has: the wheels are its user's own.
        slot, volume = self._slots.reserve(), new_volume_name(self._instance)
        self.volumes.add(volume)
        try:
            await self._manager.create_volume(volume)
            if await self._fetch(seed, volume, site, slot) and self._seed is seed:
                self._blanks[blank] = await self._pair(volume, site, slot, seed.owner)
                _log.info("wheels for the next environment of user %s are ready", seed.owner)
        except CIError as problem:
            _log.info("no wheels are kept ready: %s", problem)
        finally:
            if blank not in self._blanks:
                self._slots.release(slot)
                self.volumes.discard(volume)  # a sweep removes it
                self._seed = None if self._seed is seed else self._seed
            self._seeding = None
            self.tend_soon()

    async def _end_seeding(self) -> None:
        if self._seeding is None:
            return
        _, task = self._seeding
        if self._fetching is not None:
            try:
                await self._manager.kill(self._fetching)
            except CIError as problem:
                _log.info("wheels are still being fetched: %s", problem)
        await asyncio.wait([task])

    async def _fetch(self, seed: Seed, volume: VolumeName, site: Site, slot: int) -> bool:
        mount = EnvironmentMount(volume, read_only=False)
        waiting = await self._start(mount, site, slot, seed.owner, Role.FETCH)
        self._fetching = waiting.container_id
        try:
            return self._seed is seed and await self._seeder.fetch(waiting.container_id, seed, slot)
        finally:
            self._fetching = None
            self.names.discard(waiting.name)
            await self._manager.remove(waiting.container_id)

    async def _start(
        self,
        environment: EnvironmentMount,
        site: Site,
        slot: int,
        owner: UserId | None,
        role: Role = Role.WARM,
    ) -> Waiting:
        """A container that waits; `slot` is reserved, and given back where it can't be started."""
        name = f"ci-warm-{uuid.uuid4().hex}"
        self.names.add(name)
        request = ContainerRequest(
            name=name,
            image=site.image,
            role=role,
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
        return Waiting(container_id, name, slot, site, environment.volume, owner)

    async def _drop(self, waiting: Waiting) -> None:
        """Out of the stock, then out of the engine; of a blank, both."""
        for blank, pair in list(self._blanks.items()):
            if waiting in {pair.installer, pair.tester}:
                del self._blanks[blank]
                await self._discard(pair.tester)
                await self._discard(pair.installer)
                await self._manager.remove_volume(waiting.volume)
                return
        if self._testers.get(waiting.volume) == waiting:
            del self._testers[waiting.volume]
            await self._discard(waiting)

    async def _discard(self, waiting: Waiting) -> None:
        try:
            await self._manager.remove(waiting.container_id)
        finally:
            self.let_go(waiting)
