"""The engine at one look, for `ci-admin status`: what it is, and how much this installation has in it.

Cheap: nothing here makes the engine walk its disk.
"""

import asyncio
import json
from dataclasses import dataclass

from ci_common.ids import InstanceId
from ci_controller import engine_json
from ci_controller.container_view import instance_label
from ci_controller.engine_calls import Answer, EngineCalls


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Flat, so that it can be shown as it is."""

    address: str
    version: str
    storage_driver: str
    cgroup_version: str
    root_dir: str
    """Where its images, containers and volumes lie, on the engine's machine."""
    cpus: int
    memory_bytes: int
    containers: int
    """Of this installation, in any state."""
    volumes: int
    """Of this installation."""
    job_images: int
    """Of this installation."""


async def read(calls: EngineCalls, instance: InstanceId) -> EngineStatus:
    """See `ContainerManager.status`."""
    ours = {"filters": json.dumps({"label": [instance_label(instance)]})}
    info, containers, volumes, images = await asyncio.gather(
        _look(calls, "/info", {}),
        _look(calls, "/containers/json", {"all": "1", **ours}),
        _look(calls, "/volumes", ours),
        _look(calls, "/images/json", ours),
    )
    facts = info.object
    return EngineStatus(
        address=calls.address.url,
        version=engine_json.text(facts, "ServerVersion"),
        storage_driver=engine_json.text(facts, "Driver"),
        cgroup_version=engine_json.text(facts, "CgroupVersion") or "1",
        root_dir=engine_json.text(facts, "DockerRootDir"),
        cpus=engine_json.integer(facts, "NCPU"),
        memory_bytes=engine_json.integer(facts, "MemTotal"),
        containers=len(engine_json.mappings(containers.json)),
        volumes=len(engine_json.mappings(volumes.object.get("Volumes"))),
        job_images=len(engine_json.mappings(images.json)),
    )


async def _look(calls: EngineCalls, path: str, query: dict[str, str]) -> Answer:
    return (await calls.look(path, query)).accepted(f"answer {path}")
