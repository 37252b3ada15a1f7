"""The container engine, for those commands that need it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from ci_admin import database
from ci_common.ids import InstanceId
from ci_common.repository import ControllerRepository
from ci_controller.container_manager import ContainerManager

Result = TypeVar("Result")


def run(work: Callable[[ContainerManager], Awaitable[Result]]) -> Result:
    """What `work` makes of the engine, seen as the installation's own."""

    async def instance(repository: ControllerRepository) -> InstanceId:
        return await repository.instance_id()

    return asyncio.run(_run(database.run(instance), work))


async def _run(instance: InstanceId, work: Callable[[ContainerManager], Awaitable[Result]]) -> Result:
    async with ContainerManager(instance) as engine:
        return await work(engine)


def report(line: str) -> None:
    """Show one line of a slow step's progress."""
    click.echo(line, err=True)
