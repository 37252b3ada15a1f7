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
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from ci_common.clock import utc_now
from ci_common.errors import CIError
from ci_common.ids import ContainerId, Fence, InstanceId, UserId, VolumeName
from ci_common.models import Environment, Job
from ci_common.repository import ControllerRepository
from ci_controller import machine_memory
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import NO_NETWORK, EnvironmentMount, JobLimits
from ci_controller.container_view import Role
from ci_controller.engine_errors import ImageMissing, VolumeMissing
from ci_controller.readiness import EngineReadiness, Site
from ci_controller.seeds import Seed, Seeder
from ci_controller.settings import ControllerSettings
from ci_controller.slots import Slots
from ci_controller.waiting import Waiting, WaitingRoom
from ci_controller.warm_plan import Blank, Wish, expected_environments, in_order, next_step

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
        limits = JobLimits(settings.job_memory, settings.cpus, settings.job_pids)
        self._room = WaitingRoom(manager, slots, limits, fence)
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
        self._suspects: set[ContainerId] = set()
        """Something has happened to them."""
        self._promised: set[VolumeName] = set()
        """Their testers wait for jobs that fill them, though the database may not tell yet."""
        self._kept_promises: set[VolumeName] = set()
        """Those whose jobs are bound by now, or will never be: the database tells the rest."""
        self._wish: Wish | None = None
        self._making: asyncio.Task[None] | None = None
        """Makes what `_wish` says."""
        self._step: asyncio.Task[bool] | None = None
        """Is never cancelled: what it takes out of the stock, it also takes out of the engine."""
        self._failures = 0
        self._not_before = 0.0
        self.volumes: set[VolumeName] = set()
        """Those that wait to become environments."""

    @property
    def names(self) -> frozenset[str]:
        """Of containers that are nobody's leftovers, though no job is bound to them."""
        return frozenset(self._room.names)

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
        self._room.names.discard(waiting.name)
        self.volumes.discard(waiting.volume)
        self._slots.release(waiting.slot)
        if waiting.volume in self._promised:
            self._kept_promises.add(waiting.volume)

    # Keeping

    def seed(self, seed: Seed | None) -> None:
        """Packages were installed: fetch their wheels for the next time, once nothing else is to be done."""
        self._seed = seed

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
                self._seed = None
                if self._step is not None:
                    await asyncio.wait([self._step])
                await self._end_seeding()
                await self._give_up(self._taken_out(self._all()))
        except TimeoutError:
            _log.info("the engine is slow: what was started ahead stays for the next controller")

    async def _tend(self) -> bool:
        """Take one step; whether another may be due."""
        await self._look_at_suspects()
        settled = set(self._kept_promises)
        running = await self._repository.running_jobs()
        environments = await self._repository.list_environments()
        # Nothing is awaited from here to the decision: a job may take something at any other time.
        site = self._readiness.site
        given_up = self._taken_out([waiting for waiting in self._all() if waiting.site != site])
        limit = 0 if site is None or machine_memory.is_short() else self._limit
        stock = self._stock()
        step = next_step(stock, self._wishes(stock, site, running, environments), limit)
        self._promised -= settled
        self._kept_promises -= settled
        given_up += self._taken_out([each for each in self._testers.values() if each.volume in step.drop])
        given_up += self._taken_out(
            [pair.installer for blank, pair in self._blanks.items() if blank in step.drop]
        )
        await self._give_up(given_up)
        may_make = site is not None and asyncio.get_running_loop().time() >= self._not_before
        if step.make is None or site is None or not may_make:
            return False
        if isinstance(step.make, Blank) and step.make.seed is not None:
            task = asyncio.create_task(
                self._make_seeded(step.make, step.make.seed, site), name="fetch wheels"
            )
            self._seeding = (step.make, task)
            return True
        return await self._try_to_make(step.make, site)

    def _stock(self) -> frozenset[Wish]:
        to_come = [] if self._seeding is None else [self._seeding[0]]
        return frozenset[Wish]([*self._testers, *self._blanks, *to_come])

    def _wishes(
        self,
        stock: frozenset[Wish],
        site: Site | None,
        running: Sequence[Job],
        environments: Sequence[Environment],
    ) -> Sequence[Wish]:
        now, seed = utc_now(), self._seed
        if seed is not None:
            has_network = site is not None and site.network != NO_NETWORK
            is_useful = has_network and now - seed.installed_at < self._max_age
            may_begin = not running and self._seeding is None
            if not is_useful or (Blank(seed) not in stock and not may_begin):
                seed = None
        expected = expected_environments(running, environments, now, self._max_age)
        return in_order(list(dict.fromkeys([*self._promised, *expected])), seed)

    async def _look_at_suspects(self) -> None:
        while self._suspects:
            container_id = self._suspects.pop()
            view = await self._manager.inspect(container_id)
            if view is None or view.status.has_ended:
                broken = [waiting for waiting in self._all() if waiting.container_id == container_id]
                await self._give_up(self._taken_out(broken))

    def _all(self) -> list[Waiting]:
        pairs = [waiting for pair in self._blanks.values() for waiting in (pair.installer, pair.tester)]
        return [*self._testers.values(), *pairs]

    def _taken_out(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Out of the stock; of a blank, both go."""
        out: list[Waiting] = []
        for each in waiting:
            pairs = [item for item in self._blanks.items() if each in {item[1].installer, item[1].tester}]
            for blank, pair in pairs:
                out += [pair.installer, pair.tester]
                del self._blanks[blank]
            if self._testers.get(each.volume) == each:
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

    async def _try_to_make(self, wish: Wish, site: Site) -> bool:
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

    async def _make(self, wish: Wish, site: Site) -> None:
        assert wish not in self._stock(), "what waits is not made again"
        if isinstance(wish, Blank):
            volume = new_volume_name(self._instance)
            self.volumes.add(volume)
            try:
                await self._manager.create_volume(volume)
                self._blanks[wish] = await self._pair(volume, site, self._slots.reserve(), None)
            except CIError:
                self.volumes.discard(volume)
                raise
        else:
            mount = EnvironmentMount(wish, read_only=True)
            self._testers[wish] = await self._room.start(mount, site, self._slots.reserve(), None)

    async def _pair(self, volume: VolumeName, site: Site, slot: int, owner: UserId | None) -> _Pair:
        """The containers of a blank; `slot` is the installer's."""
        installer = await self._room.start(EnvironmentMount(volume, read_only=False), site, slot, owner)
        mount = EnvironmentMount(volume, read_only=True)
        try:
            return _Pair(installer, await self._room.start(mount, site, self._slots.reserve(), owner))
        except CIError:
            await self._give_up([installer])
            raise

    # Fetching

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

    async def _fetch(self, seed: Seed, volume: VolumeName, site: Site, slot: int) -> bool:
        mount = EnvironmentMount(volume, read_only=False)
        waiting = await self._room.start(mount, site, slot, seed.owner, Role.FETCH)
        self._fetching = waiting.container_id
        try:
            return self._seed is seed and await self._seeder.fetch(waiting.container_id, seed, slot)
        finally:
            self._fetching = None
            self._room.names.discard(waiting.name)
            await self._manager.remove(waiting.container_id)

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
