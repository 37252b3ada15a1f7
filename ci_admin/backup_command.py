"""`ci-admin backup`: a copy of the database that is whole and was checked, made while all goes on."""

import asyncio
from pathlib import Path

import click

from ci_admin import database, output
from ci_admin.options import database_option
from ci_persistence.backup import backup as copy_database


@click.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@database_option
def backup(target: Path) -> None:
    """Copy the database to TARGET, which must not exist; running jobs aren't disturbed."""
    asyncio.run(copy_database(database.paths().db_path, target))
    click.echo(f"Backup written to {target} ({output.size(target.stat().st_size)})")
