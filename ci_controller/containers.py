"""The calls that make, look at and end containers: one request to the engine each, where one suffices.

Invariants: a container is started once at most; what is removed is named by id; "gone" is an answer. Only
`container_manager` and its parts call this.
"""

import asyncio
import json
import signal
from collections.abc import Sequence

from ci_common.errors import EngineUnavailable
from ci_common.ids import ContainerId, InstanceId
from ci_controller import engine_json
from ci_controller.container_request import ContainerRequest, engine_config
from ci_controller.container_view import (
    ContainerStatus,
    ContainerView,
    from_inspection,
    from_listing,
    instance_label,
)
from ci_controller.engine_calls import Answer, EngineCalls
from ci_controller.engine_errors import (
    AlreadyStarted,
    EngineRefused,
    ImageMissing,
    NameTaken,
    StartFailed,
    VolumeMissing,
)

_LOOK_AGAIN_SECONDS = 0.1
_LOOKS_WHILE_GOING = 300


class Containers:
    """The containers of one installation."""

    def __init__(self, calls: EngineCalls, instance: InstanceId) -> None:
        self._calls = calls
        self._instance = instance
        self._never_started: set[ContainerId] = set()
        """Made here and not started since: their start needs no look before it."""

    async def create(self, request: ContainerRequest) -> ContainerId:
        """See `ContainerManager.create`."""
        if request.environment is not None:
            volume = await self._calls.look(f"/volumes/{request.environment.volume}")
            if volume.status == 404:
                raise VolumeMissing(f"there is no volume {request.environment.volume}")
            volume.accepted("look at the environment")
        return await self.create_from(request.name, engine_config(request, self._instance))

    async def create_from(self, name: str, config: engine_json.Json) -> ContainerId:
        """A container from the engine's own description of it, which bears our labels."""
        answer = await self._calls.change("POST", "/containers/create", {"name": name}, config)
        if answer.status == 409:
            raise NameTaken(answer.message, await self._id_of(name))
        if answer.status == 404:
            raise ImageMissing(answer.message)
        answer.accepted(f"create container {name}")
        container_id = ContainerId(engine_json.text(answer.object, "Id"))
        self._never_started.add(container_id)
        return container_id

    async def start(self, container_id: ContainerId) -> bool:
        """See `ContainerManager.start`."""
        if container_id not in self._never_started and not await self._may_start(container_id):
            return False
        self._never_started.discard(container_id)
        answer = await self._calls.change("POST", f"/containers/{container_id}/start")
        if answer.status == 304:
            raise AlreadyStarted(f"container {container_id} runs already")
        if answer.status == 404 and await self.inspect(container_id) is None:
            return False
        if not answer.ok:
            raise StartFailed(answer.message)
        return True

    async def rename(self, container_id: ContainerId, name: str) -> None:
        """See `ContainerManager.rename`."""
        answer = await self._calls.change("POST", f"/containers/{container_id}/rename", {"name": name})
        if answer.status == 409:
            raise NameTaken(answer.message, await self._id_of(name))
        if answer.status != 404:
            answer.accepted(f"rename container {container_id}")

    async def _may_start(self, container_id: ContainerId) -> bool:
        view = await self.inspect(container_id)
        if view is None:
            return False
        if view.status is not ContainerStatus.CREATED:
            raise AlreadyStarted(f"container {container_id} is {view.status} and can't be started again")
        return True

    async def inspect(self, container_id: ContainerId) -> ContainerView | None:
        """See `ContainerManager.inspect`."""
        answer = await self._inspection(container_id)
        return None if answer is None else from_inspection(answer.object)

    async def list(self) -> Sequence[ContainerView]:
        """See `ContainerManager.list`."""
        filters = json.dumps({"label": [instance_label(self._instance)]})
        answer = await self._calls.look("/containers/json", {"all": 1, "filters": filters})
        answer.accepted("list containers")
        return [from_listing(entry) for entry in engine_json.mappings(answer.json)]

    async def signal(self, container_id: ContainerId, number: signal.Signals) -> bool:
        """See `ContainerManager.signal`."""
        answer = await self._calls.change("POST", f"/containers/{container_id}/kill", {"signal": number.name})
        if answer.status == 404 or (answer.status == 409 and "is not running" in answer.message):
            return False
        answer.accepted(f"signal container {container_id}")
        return True

    async def remove(self, container_id: ContainerId) -> None:
        """See `ContainerManager.remove`."""
        self._never_started.discard(container_id)
        answer = await self._calls.change("DELETE", f"/containers/{container_id}", {"force": 1, "v": 1})
        if answer.status == 409 and "already in progress" in answer.message:
            await self._until_gone(container_id)
        elif answer.status != 404:
            answer.accepted(f"remove container {container_id}")

    async def _until_gone(self, container_id: ContainerId) -> None:
        """Somebody else removes it: until that is done, it still holds its network and its volume."""
        for _ in range(_LOOKS_WHILE_GOING):
            if await self.inspect(container_id) is None:
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        raise EngineRefused(f"container {container_id} has been about to be removed for too long")

    async def run_to_end(self, container_id: ContainerId, limit_seconds: float) -> int:
        """Start it, wait for its end and give its exit code.

        Raises:
            EngineRefused: it is gone.
            EngineUnavailable: it runs longer than `limit_seconds`.
        """
        if not await self.start(container_id):
            raise EngineRefused(f"container {container_id} is gone before its start")
        answer = await self._calls.request(
            "POST", f"/containers/{container_id}/wait", limit_seconds=limit_seconds
        )
        answer.accepted(f"wait for container {container_id}")
        return engine_json.integer(answer.object, "StatusCode")

    async def _inspection(self, name_or_id: str) -> Answer | None:
        answer = await self._calls.look(f"/containers/{name_or_id}/json")
        if answer.status == 404:
            return None
        answer.accepted(f"inspect container {name_or_id}")
        if not engine_json.text(answer.object, "Id"):
            raise EngineUnavailable(f"the engine's description of container {name_or_id} is empty")
        return answer

    async def _id_of(self, name: str) -> ContainerId | None:
        answer = await self._inspection(name)
        return None if answer is None else ContainerId(engine_json.text(answer.object, "Id"))
