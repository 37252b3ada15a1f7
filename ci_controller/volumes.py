"""Named volumes of one installation: each holds an environment.

A volume has our label from its creation on, so that clean-up finds it after a crash. Only
`container_manager` calls this.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ci_common.ids import InstanceId, VolumeName
from ci_controller import engine_json
from ci_controller.container_view import LABEL_INSTANCE, instance_label
from ci_controller.engine_calls import EngineCalls
from ci_controller.engine_errors import EngineRefused, InUse


@dataclass(frozen=True, slots=True)
class VolumeView:
    """One volume at one moment."""

    name: VolumeName
    created_at: datetime


class Volumes:
    """The volumes of one installation."""

    def __init__(self, calls: EngineCalls, instance: InstanceId) -> None:
        self._calls = calls
        self._instance = instance

    async def create(self, name: VolumeName) -> None:
        """See `ContainerManager.create_volume`."""
        body = {"Name": name, "Labels": {LABEL_INSTANCE: self._instance}}
        answer = await self._calls.change("POST", "/volumes/create", body=body)
        answer.accepted(f"create volume {name}")
        labels = engine_json.mapping(answer.object, "Labels")
        if engine_json.text(labels, LABEL_INSTANCE) != self._instance:
            raise EngineRefused(f"a volume {name} exists, and isn't this installation's")

    async def list(self) -> Sequence[VolumeView]:
        """See `ContainerManager.list_volumes`."""
        filters = json.dumps({"label": [instance_label(self._instance)]})
        answer = await self._calls.look("/volumes", {"filters": filters})
        answer.accepted("list volumes")
        return [
            VolumeView(VolumeName(engine_json.text(entry, "Name")), engine_json.moment(entry, "CreatedAt"))
            for entry in engine_json.mappings(answer.object.get("Volumes"))
        ]

    async def remove(self, name: VolumeName) -> None:
        """See `ContainerManager.remove_volume`."""
        answer = await self._calls.change("DELETE", f"/volumes/{name}")
        if answer.status == 404:
            return
        if answer.status == 409:
            raise InUse(answer.message)
        answer.accepted(f"remove volume {name}")
