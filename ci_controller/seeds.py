"""Wheels that lie ready where a user's next environment will be made, so that little is left to install.

Whoever has installed packages will probably install nearly the same next: a line of `requirements.txt`
changes. So after an installation its packages are fetched once more, onto a new volume, into the very cache
that uv will look into there. Invariants, which make this as safe as installing from nothing:

- Nothing of a stranger's runs where they are fetched, so what lies there is what the index gave for its hash.
- Nothing passes from one installation to another: each volume is filled for one environment and becomes it.
- A volume with wheels has an owner, whose jobs alone ever see it (`warm_pool`).

Where anything fails, the next installation starts from nothing, as the first did.
"""

from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ci_common.ids import ContainerId, UserId
from ci_common.models import LogPosition
from ci_controller.container_manager import ContainerManager
from ci_controller.environments import Placement, can_be_fetched, plan_fetch
from ci_controller.feeding import feed_stream
from ci_controller.frames import FrameDecoder, RunnerEnd, RunnerResult
from ci_controller.installer import InstallerSettings
from ci_controller.requirements import Requirements
from ci_controller.slots import uid_of

TIME_LIMIT_SECONDS: Final = 120.0
DISK_LIMIT_BYTES: Final = 512 << 20
"""Beyond this, what would be fetched for nothing weighs more than what would be gained."""
_LOG_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Seed:
    """What one user has installed, and when."""

    owner: UserId
    requirements: Requirements
    installed_at: datetime


def seed_of(owner: UserId, requirements: Requirements, now: datetime) -> Seed | None:
    """What to fetch after an installation, if anything."""
    return Seed(owner, requirements, now) if can_be_fetched(requirements) else None


class Seeder:
    """Fetches wheels in containers that others make and remove."""

    def __init__(self, manager: ContainerManager, settings: InstallerSettings, cpus: float) -> None:
        self._manager = manager
        self._settings = settings
        self._cpus = cpus

    async def fetch(self, container_id: ContainerId, seed: Seed, slot: int) -> bool:
        """Let the container, which waits for its spec, fill its volume; whether everything is there.

        Raises:
            FeedFailed: the container is gone.
            EngineUnavailable: the connection was lost on the way.
        """
        uid = uid_of(slot)
        placement = Placement(
            uid=uid,
            gid=uid,
            cpus=self._cpus,
            time_limit_seconds=TIME_LIMIT_SECONDS,
            log_limit_bytes=_LOG_LIMIT_BYTES,
            disk_limit_bytes=DISK_LIMIT_BYTES,
        )
        spec = plan_fetch(seed.requirements, self._settings, placement)
        await self._manager.feed(container_id, feed_stream(spec))
        result = await self._result(container_id)
        return result is not None and result.end is RunnerEnd.EXITED and not result.terminated

    async def _result(self, container_id: ContainerId) -> RunnerResult | None:
        decoder = FrameDecoder(LogPosition())
        result: RunnerResult | None = None
        async with aclosing(self._manager.follow(container_id)) as log:
            async for data in log:
                result = decoder.feed(data).result or result
        return decoder.finish().result or result
