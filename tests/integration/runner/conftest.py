"""One image for all containers of these tests: the product's own, made when it isn't there."""

import asyncio
import uuid
from collections.abc import Generator

import pytest

from ci_common.ids import InstanceId
from ci_controller.container_manager import ContainerManager
from tests.integration.runner.box import Boxes


@pytest.fixture(scope="session")
def boxes() -> Generator[Boxes]:
    """Makes containers; nothing of them is left, but the base image, which is everybody's."""
    instance = InstanceId(uuid.uuid4().hex)
    yield Boxes(asyncio.run(_make_image(instance)), instance)
    asyncio.run(_remove_images(instance))


async def _make_image(instance: InstanceId) -> str:
    async with ContainerManager(instance) as manager:
        base = await manager.ensure_base_image(None, print)
        return (await manager.ensure_job_image(base.name, print)).name


async def _remove_images(instance: InstanceId) -> None:
    async with ContainerManager(instance) as manager:
        for image in await manager.list_job_images():
            await manager.remove_image(image.id)
