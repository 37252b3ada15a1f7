"""The stock of containers when the engine fails, and when jobs come in between: nothing leaks."""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from ci_common.clock import utc_now
from ci_common.ids import ContainerId, InstanceId, UserId, VolumeName
from ci_common.models import Environment, Job, Stage
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import ContainerRequest
from ci_controller.container_view import ContainerView, Role
from ci_controller.engine_errors import EngineRefused, VolumeMissing
from ci_controller.installer import InstallerSettings
from ci_controller.readiness import EngineReadiness, Site
from ci_controller.seeds import Seed, Seeder, seed_of
from ci_controller.settings import ControllerSettings
from ci_controller.slots import Slots
from ci_controller.warm_pool import WarmPool
from tests.contract.world import World, a_run, an_environment
from tests.fakes.memory_repository import MemoryRepository
from tests.unit.controller.test_environments import requirements_of

TURNS = 1000
INSTANCE = InstanceId("01234567-89ab-cdef-0123-456789abcdef")


class FailingEngine(ContainerManager):
    """Keeps containers in memory, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__(INSTANCE, {})
        self._numbers = itertools.count()
        self.made: dict[ContainerId, ContainerRequest] = {}
        self.refuses: Callable[[str, object], Exception | None] = lambda _call, _what: None
        self.calls = 0

    def _ask(self, call: str, what: object) -> None:
        self.calls += 1
        problem = self.refuses(call, what)
        if problem is not None:
            raise problem

    async def create(self, request: ContainerRequest) -> ContainerId:
        self._ask("create", request)
        container_id = ContainerId(f"c{next(self._numbers)}")
        self.made[container_id] = request
        return container_id

    async def start(self, container_id: ContainerId) -> bool:
        self._ask("start", container_id)
        return True

    async def remove(self, container_id: ContainerId) -> None:
        self._ask("remove", container_id)
        self.made.pop(container_id, None)

    async def inspect(self, container_id: ContainerId) -> ContainerView | None:
        self._ask("inspect", container_id)
        return None

    async def create_volume(self, name: VolumeName) -> None:
        self._ask("create_volume", name)


class Fetched(Seeder):
    """All wheels come at once."""

    async def fetch(self, container_id: ContainerId, seed: Seed, slot: int) -> bool:
        return True


class Ready(EngineReadiness):
    """The engine as it was, until it is told otherwise."""

    def __init__(self) -> None:
        self.epoch = 0

    @property
    def site(self) -> Site:
        return Site("image", "network", self.epoch)

    def begin_again(self) -> None:
        self.epoch += 1


class Stand:
    """A pool at work."""

    def __init__(
        self, world: World, engine: FailingEngine, slots: Slots, ready: Ready, pool: WarmPool
    ) -> None:
        self.world = world
        self.engine = engine
        self.slots = slots
        self.ready = ready
        self.pool = pool

    async def tended(self, condition: Callable[[], bool]) -> None:
        """Let the pool work until `condition` holds."""
        for _ in range(TURNS):
            if condition():
                return
            await self.turns(1)
        raise AssertionError("it never came to that")

    async def turns(self, count: int) -> None:
        """Let the pool look again and again."""
        for _ in range(count):
            self.pool.tend_soon()
            await asyncio.sleep(0)

    async def environment(self, name: str) -> Environment:
        """Something to wait for."""
        entry = an_environment(self.world.user_id, name * 64, name)
        job = await self.world.running(f"container-{name}", Stage.INSTALL)
        assert job.run is not None
        await self.world.repository.append(
            self.world.fence, job.id, job.run.container_id, [], job.run.position, environment=entry
        )
        await self.world.repository.use_environment(self.world.fence, entry.volume, utc_now())
        return entry

    def assert_nothing_is_left(self) -> None:
        assert self.pool.names == frozenset()
        assert self.pool.volumes == set()
        assert self.slots.reserve() == 0, "all numbers are free"


@asynccontextmanager
async def stand(limit: int = 4) -> AsyncGenerator[Stand]:
    repository = MemoryRepository()
    world = await World.create(repository)
    engine, ready, slots = FailingEngine(), Ready(), Slots(4)
    settings = ControllerSettings(warm_containers=limit)
    seeder = Fetched(engine, InstallerSettings(), cpus=1.0)
    pool = WarmPool(repository, engine, ready, slots, seeder, settings, INSTANCE, world.fence)
    keeper = asyncio.create_task(pool.keep())
    try:
        yield Stand(world, engine, slots, ready, pool)
        assert not keeper.done(), keeper.result()
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await pool.close()


async def test_a_blank_is_two_containers_on_one_volume_and_is_given_up_at_the_end() -> None:
    async with stand() as at:
        await at.tended(lambda: len(at.engine.made) == 2)
        installer, tester = (request.environment for request in at.engine.made.values())
        assert installer is not None
        assert tester is not None
        assert installer.volume == tester.volume
        assert (installer.read_only, tester.read_only) == (False, True)
    assert at.engine.made == {}
    at.assert_nothing_is_left()


async def test_a_removal_that_fails_keeps_neither_name_nor_number() -> None:
    async with stand() as at:
        await at.tended(lambda: len(at.engine.made) == 2)
        at.engine.refuses = lambda call, _what: EngineRefused("no") if call == "remove" else None
    at.assert_nothing_is_left()
    assert len(at.engine.made) == 2, "they are housekeeping's now"


async def test_what_cannot_be_started_is_not_tried_without_pause_and_leaves_nothing() -> None:
    async with stand() as at:
        at.engine.refuses = lambda call, _what: EngineRefused("full") if call in {"start", "create"} else None
        await at.tended(lambda: at.engine.calls > 0)
        calls = at.engine.calls
        await at.turns(100)
        assert at.engine.calls == calls
    at.assert_nothing_is_left()


async def test_an_environment_whose_volume_is_gone_is_forgotten() -> None:
    async with stand() as at:
        await at.environment("gone")

        def refuses(_call: str, what: object) -> Exception | None:
            is_gone = isinstance(what, ContainerRequest) and _tests_on(what, "gone")
            return VolumeMissing("gone") if is_gone else None

        at.engine.refuses = refuses
        await at.turns(100)
        assert await at.world.repository.list_environments() == []


async def test_what_was_started_for_another_engine_is_given_up() -> None:
    async with stand() as at:
        await at.tended(lambda: len(at.engine.made) == 2)
        before = set(at.engine.made)
        at.ready.epoch += 1
        assert await at.pool.take_installer(at.world.user_id, fresh=False) is None
        await at.tended(lambda: len(at.engine.made) == 2 and not before & set(at.engine.made))


async def test_the_twin_waits_for_the_job_that_took_the_installer() -> None:
    async with stand(limit=2) as at:
        await at.tended(lambda: len(at.engine.made) == 2)
        job: Job = await at.world.queued()
        installer = await at.pool.take_installer(at.world.user_id, fresh=False)
        assert installer is not None
        await at.turns(20)  # the database doesn't tell yet, and there is no room for more
        run = a_run(installer.container_id, at.world.fence, Stage.INSTALL, installer.volume)
        assert await at.world.repository.bind_run(at.world.fence, job.id, run) is not None
        at.pool.let_go(installer)
        await at.turns(20)
        twin = await at.pool.take_tester(installer.volume)
        assert twin is not None
        assert (twin.volume, twin.container_id in at.engine.made) == (installer.volume, True)


async def test_one_that_has_ended_makes_room_for_another() -> None:
    async with stand() as at:
        await at.tended(lambda: len(at.engine.made) == 2)
        ended = next(iter(at.engine.made))
        at.pool.has_changed(ended)  # and `inspect` doesn't find it
        await at.tended(lambda: len(at.engine.made) == 2 and ended not in at.engine.made)


async def test_expired_environments_are_not_waited_for() -> None:
    async with stand() as at:
        entry = await at.environment("old")
        assert entry.created_at > utc_now() - timedelta(minutes=1)
        await at.tended(lambda: any(_tests_on(request, "old") for request in at.engine.made.values()))
        await at.world.repository.forget_environment(at.world.fence, entry.volume)
        await at.tended(lambda: not any(_tests_on(request, "old") for request in at.engine.made.values()))


async def test_wheels_wait_for_their_owner_alone_and_not_for_a_fresh_installation() -> None:
    async with stand() as at:
        owner = at.world.user_id
        at.pool.seed(seed_of(owner, requirements_of("pytest\n"), utc_now()))
        await at.tended(lambda: len(at.engine.made) == 4)
        assert {request.role for request in at.engine.made.values()} == {Role.WARM}, "the fetch is over"
        empty = await at.pool.take_installer(UserId("stranger"), fresh=False)
        assert empty is not None
        assert empty.owner is None
        assert await at.pool.take_installer(UserId("another"), fresh=False) is None
        assert await at.pool.take_installer(owner, fresh=True) is None
        seeded = await at.pool.take_installer(owner, fresh=False)
        assert seeded is not None
        assert seeded.owner == owner
        for waiting in (empty, seeded):
            at.pool.let_go(waiting)


def _tests_on(request: ContainerRequest, volume: str) -> bool:
    return request.environment is not None and request.environment.volume == volume
