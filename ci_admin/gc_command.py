"""`ci-admin gc`: what nobody needs any more is removed."""

import click

from ci_admin import cleanup, database
from ci_admin.options import database_option
from ci_common.repository import ControllerRepository
from ci_controller.container_manager import ContainerManager


@click.command()
@click.option(
    "--everything",
    is_flag=True,
    help="Also all that this installation has in the engine: containers, environments, job images, "
    "network. For when it is given up; no controller may run. The database stays.",
)
@database_option
def gc(everything: bool) -> None:
    """Remove uploads of ended jobs and environments that nobody names."""
    paths = database.paths()

    async def clean(repository: ControllerRepository) -> cleanup.Removed:
        async with ContainerManager(await repository.instance_id()) as engine:
            remove = cleanup.remove_everything if everything else cleanup.remove_unused
            return await remove(repository, engine, paths)

    removed = database.run(clean)
    click.echo(
        f"Removed: {removed.bundles} uploads, {removed.containers} containers, "
        f"{removed.volumes} environments, {removed.images} job images"
    )
    if removed.network_stays:
        click.echo(
            "The jobs' network stays: the engine counts containers on it that are gone. Restart the engine, "
            "then run this command again",
            err=True,
        )
