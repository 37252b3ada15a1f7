import asyncio
import fcntl
import os
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ci_common.ids import InstanceId
from ci_controller.container_manager import ContainerManager
from ci_controller.container_view import LABEL_INSTANCE
from ci_controller.containers import Containers
from ci_controller.engine_address import EngineAddress
from ci_controller.engine_calls import EngineCalls, TimeLimits
from ci_controller.image_build import AddedFile, build_container
from ci_controller.images import Images
from tests.integration.engine.bench import Bench

STAND_IN = Path(__file__).with_name("stand_in.py")


def new_instance() -> InstanceId:
    return InstanceId(str(uuid.uuid4()))


async def clean_up(manager: ContainerManager) -> None:
    """Remove all that an instance has in the engine."""
    for container in await manager.list():
        await manager.remove(container.id)
    for volume in await manager.list_volumes():
        await manager.remove_volume(volume.name)
    await manager.remove_network()
    for image in await manager.list_job_images():
        await manager.remove_image(image.id)
    assert not await manager.list()
    assert not await manager.list_volumes()
    assert not await manager.list_job_images()


async def _ensured() -> str:
    async with ContainerManager(new_instance()) as manager:
        return (await manager.ensure_base_image(None, lambda _: None)).name


@pytest.fixture(scope="session")
def base_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The default base image, built by one of the test processes where it is missing."""
    root = tmp_path_factory.getbasetemp()
    shared = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with (shared / "base-image.lock").open("w") as lock, ThreadPoolExecutor(1) as elsewhere:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # In a thread of its own, for it needs an event loop that isn't the tests'.
        return elsewhere.submit(lambda: asyncio.run(_ensured())).result()


@pytest.fixture
async def manager() -> AsyncIterator[ContainerManager]:
    """An installation of the test's own; nothing of it is left afterwards."""
    async with ContainerManager(new_instance()) as made:
        yield made
        await clean_up(made)


@pytest.fixture
async def bench(base_image: str) -> AsyncIterator[Bench]:
    """An installation with an image whose containers do as the test tells them."""
    instance = new_instance()
    limits = TimeLimits(stall_seconds=3)
    async with ContainerManager(instance, limits=limits) as manager:
        calls = EngineCalls(EngineAddress.from_environ(os.environ), limits)
        images = Images(calls, instance)
        files = [AddedFile("/opt/ci/runner.py", STAND_IN, 0o644)]
        containers = Containers(calls, instance)
        async with build_container(
            images, containers, base_image, ["true"], files=files, network="none"
        ) as container:
            image = await images.commit(container, {LABEL_INSTANCE: instance})
        calls.close()
        yield Bench(instance, manager, image)
        await clean_up(manager)
