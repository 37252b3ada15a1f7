"""A container whose runner waits for its spec, and how one comes about.

Its name is known here before the engine hears of it, and until its container is bound to a job or gone: what
bears another name of this kind is a leftover. Called by `warm_pool` alone.
"""

import uuid
from dataclasses import dataclass

from ci_common.errors import CIError
from ci_common.ids import ContainerId, Fence, UserId, VolumeName
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import ContainerRequest, EnvironmentMount, JobLimits
from ci_controller.container_view import Role
from ci_controller.engine_errors import StartFailed
from ci_controller.frames import FRAMES_VERSION
from ci_controller.readiness import Site
from ci_controller.slots import Slots


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


class WaitingRoom:
    """Starts them for one leadership, and knows their names."""

    def __init__(self, manager: ContainerManager, slots: Slots, limits: JobLimits, fence: Fence) -> None:
        self._manager = manager
        self._slots = slots
        self._limits = limits
        self._fence = fence
        self.names: set[str] = set()
        """Of containers that are nobody's leftovers, though no job is bound to them."""

    async def start(
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
            if not await self._manager.start(container_id):
                raise StartFailed(f"container {name} is gone before its start")
        except CIError:
            # What the engine has made of it all the same is a leftover from now on.
            self.names.discard(name)
            self._slots.release(slot)
            raise
        return Waiting(container_id, name, slot, site, environment.volume, owner)
