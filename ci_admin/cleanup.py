"""What `ci-admin gc` removes, beside a running controller or after the last one has stopped.

Everything removed here is either nobody's (bundles of ended jobs, volumes that neither a cache entry
nor an unfinished job names) or a cache that the controller makes anew. A volume is made before the
database names it, so that young ones are left alone.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from ci_admin.controller_sign import holder_of
from ci_common.clock import utc_now
from ci_common.errors import InvalidInput
from ci_common.ids import VolumeName
from ci_common.repository import ControllerRepository
from ci_controller.container_manager import ContainerManager
from ci_controller.engine_errors import InUse
from ci_controller.leadership import is_alive
from ci_persistence.bundle_files import DirectoryBundleStore
from ci_persistence.content_files import LONGEST_SECONDS, DirectoryContentStore
from ci_persistence.data_paths import DataPaths

_YOUNG = timedelta(hours=1)
_MOST_UNFINISHED = 1_000_000
_NOTHING_KEPT_SECONDS = -1.0
"""Older than that is everything."""


@dataclass(frozen=True, slots=True)
class Removed:
    """How many of each were removed."""

    bundles: int = 0
    containers: int = 0
    volumes: int = 0
    images: int = 0
    network_stays: bool = False
    """The engine counts containers on it that don't exist."""


async def remove_unused(
    repository: ControllerRepository, engine: ContainerManager, paths: DataPaths
) -> Removed:
    """Bundles and volumes that nobody needs; safe at any time."""
    bundles = await _sweep_bundles(repository, paths)
    before = utc_now() - _YOUNG
    volumes = [each.name for each in await engine.list_volumes() if each.created_at < before]
    needed = await _needed_volumes(repository)
    removed = [name for name in volumes if name not in needed and await _remove_volume(engine, name)]
    return Removed(bundles=bundles, volumes=len(removed))


async def remove_everything(
    repository: ControllerRepository, engine: ContainerManager, paths: DataPaths
) -> Removed:
    """All that the installation has in the engine; its data stays. Jobs that ran start again later.

    Raises:
        InvalidInput: a controller runs, which would make it all anew.
    """
    holder = holder_of(await repository.lease())
    if holder is not None and is_alive(holder):
        raise InvalidInput(f"a controller runs as process {holder.pid}: stop it first")
    bundles = await _sweep_bundles(repository, paths, kept_seconds=_NOTHING_KEPT_SECONDS)
    containers = await engine.list()
    for container in containers:
        await engine.remove(container.id)
    volumes = await engine.list_volumes()
    for volume in volumes:
        await engine.remove_volume(volume.name)
    images = await engine.list_job_images()
    network_stays = False
    try:
        await engine.remove_network(images[0].name if images else None)
    except InUse:
        # No container is left that could be on it. Engines that are busy with many at once miscount what is
        # connected to a network, and only forget it when they are started again.
        network_stays = True
    for image in images:
        await engine.remove_image(image.id)
    return Removed(bundles, len(containers), len(volumes), len(images), network_stays)


async def _sweep_bundles(
    repository: ControllerRepository, paths: DataPaths, kept_seconds: float = LONGEST_SECONDS
) -> int:
    instance_id = await repository.instance_id()
    kept = DirectoryContentStore(paths.data_dir, instance_id, longest_seconds=kept_seconds)
    await asyncio.to_thread(kept.sweep)
    return await repository.sweep_bundles(DirectoryBundleStore(paths.data_dir, instance_id))


async def _needed_volumes(repository: ControllerRepository) -> set[VolumeName]:
    unfinished = [
        *await repository.running_jobs(),
        *await repository.queued_jobs(_MOST_UNFINISHED),
    ]
    named = {job.environment for job in unfinished} | {job.run.environment for job in unfinished if job.run}
    cached = {entry.volume for entry in await repository.list_environments()}
    return cached | {name for name in named if name is not None}


async def _remove_volume(engine: ContainerManager, name: VolumeName) -> bool:
    try:
        await engine.remove_volume(name)
    except InUse:
        return False
    return True
