"""The database of a command's installation, open for as long as the command works."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from ci_admin.options import chosen_db_path
from ci_common.repository import ControllerRepository
from ci_persistence import data_paths
from ci_persistence.data_paths import DataPaths
from ci_persistence.sqlite_repository import SQLiteJobRepository

Result = TypeVar("Result")
Work = Callable[[ControllerRepository], Awaitable[Result]]


def paths() -> DataPaths:
    """Where the installation lies that `--db-path` or the environment names."""
    return data_paths.resolve(chosen_db_path())


def run(work: Work[Result]) -> Result:
    """What `work` makes of the repository; an empty or absent database gets its schema first."""
    return asyncio.run(_run(paths().db_path, work))


async def _run(db_path: Path, work: Work[Result]) -> Result:
    repository = SQLiteJobRepository(db_path)
    try:
        await repository.initialize()
        if repository.created:
            click.echo(f"Created the database {db_path}", err=True)
        return await work(repository)
    finally:
        await repository.close()
