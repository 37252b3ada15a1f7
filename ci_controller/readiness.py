"""Whether jobs can be started at present: the engine answers, the image exists, the network is closed.

Kept up by one task for the whole leadership: whatever can't be had is tried again, people are told
through the lease, and waiting jobs start as soon as it is there.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ci_common.errors import EngineUnavailable
from ci_common.models import ControllerState
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import NO_NETWORK
from ci_controller.container_view import Role
from ci_controller.decide import Readiness
from ci_controller.engine_errors import EngineRefused, ImageBuildFailed
from ci_controller.images import JobImage
from ci_controller.leadership import Beat
from ci_controller.network import NetworkPolicy, NetworkState
from ci_controller.settings import ControllerSettings, JobNetwork

RETRY_ENGINE_SECONDS = 1.0
RETRY_IMAGE_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """Where containers are made at present."""

    image: str
    network: str
    epoch: int
    """Grows whenever the engine, or what was made in it, may have gone away meanwhile."""


class EngineReadiness:
    """The present state; `image` and `network` are set whenever there is no obstacle."""

    def __init__(
        self,
        manager: ContainerManager,
        settings: ControllerSettings,
        policy: NetworkPolicy,
        beat: Beat,
        on_ready: Callable[[], None],
    ) -> None:
        self._manager = manager
        self._settings = settings
        self._policy = policy
        self._beat = beat
        self._on_ready = on_ready
        self._look_again = asyncio.Event()
        self._obstacle: str | None = "The controller is starting"
        self._is_made = False
        self._epoch = 0
        self.image: JobImage | None = None
        self.network: NetworkState = NetworkState(None, "not looked at yet")

    @property
    def now(self) -> Readiness:
        """What stands in the way of starting jobs."""
        return Readiness(self._obstacle)

    @property
    def site(self) -> Site | None:
        """Where containers can be made now; None where something stands in the way."""
        if self._obstacle is not None or self.image is None:
            return None
        return Site(self.image.name, self.network.name or NO_NETWORK, self._epoch)

    def look_again(self) -> None:
        """A call to the engine has failed: find out whether it still answers."""
        self._look_again.set()

    def begin_again(self) -> None:
        """The engine, or what was made in it, is gone: nothing is started until all of it is back.

        A restarted engine has lost the rules that close the network.
        """
        self._is_made = False
        self._epoch += 1
        if self._obstacle is None:
            self._obstacle = "The connection to the container engine was lost"
        self._look_again.set()

    async def keep(self) -> None:
        """Bring about and keep up readiness, until cancelled."""
        while True:
            self._look_again.clear()
            delay_seconds = await self._try()
            try:
                async with asyncio.timeout(delay_seconds):
                    await self._look_again.wait()
            except TimeoutError:
                continue

    async def _try(self) -> float | None:
        try:
            await self._manager.ping()
            if not self._is_made:
                self._is_made = True  # before it is: what is lost meanwhile is made again
                await self._make()
        except EngineUnavailable as problem:
            self._is_made = False
            self._epoch += 1
            self._hinder(ControllerState.NO_ENGINE, f"The container engine doesn't answer: {problem}")
            return RETRY_ENGINE_SECONDS
        except (ImageBuildFailed, EngineRefused) as problem:
            self._is_made = False
            self._hinder(ControllerState.BUILDING_IMAGE, f"The base image can't be had: {problem}")
            return RETRY_IMAGE_SECONDS
        if not self._is_made:
            return 0.0
        self._obstacle = None
        self._beat.say(ControllerState.READY)
        self._on_ready()
        return None

    async def _make(self) -> None:
        base_name = self._settings.python_base_image
        if base_name is None:
            base = await self._manager.ensure_base_image(None, self._report)
            base_name = base.name
        self.image = await self._manager.ensure_job_image(base_name, self._report)
        if self._settings.job_network is JobNetwork.INTERNET:
            await self._remove_probes()
            self.network = await self._manager.ensure_network(self._policy, self.image.name)
            if self.network.name is None:
                _log.warning("jobs run without a network: %s", self.network.reason)
        else:
            self.network = NetworkState(None, "")

    async def _remove_probes(self) -> None:
        """Only this task makes them, one at a time: what is there was left by a leader that was killed."""
        for view in await self._manager.list():
            if view.role is Role.PROBE:
                await self._manager.remove(view.id)

    def _report(self, line: str) -> None:
        self._hinder(ControllerState.BUILDING_IMAGE, f"The base image is being built: {line}")

    def _hinder(self, state: ControllerState, text: str) -> None:
        if self._obstacle != text:
            _log.info("%s", text)
        self._obstacle = text
        self._beat.say(state, text)
