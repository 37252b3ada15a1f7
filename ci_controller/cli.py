"""The command `ci-controller`: settings, logging, signals; everything else is `controller.run`."""

import asyncio
import logging
import signal
import sys

import click
from pydantic import ValidationError

from ci_common.errors import CIError, FenceLost
from ci_controller.settings import ControllerSettings
from ci_persistence import data_paths

EXIT_FAILED = 1
EXIT_SUPERSEDED = 3


def _settings_help() -> str:
    lines = ["\b", "Settings, read once at start from the environment:"]
    for name, setting in ControllerSettings.model_fields.items():
        default = "" if setting.default is None else f" [{setting.default}]"
        lines.append(f"  CI_{name.upper()}: {setting.description}{default}")
    lines += [
        "  CI_DATA_DIR: where everything is kept [~/.ci/data]",
        "  CI_DB_PATH: the database [ci.db in CI_DATA_DIR]",
        "  DOCKER_HOST: the container engine [its usual socket]",
    ]
    return "\n".join(lines)


@click.command(epilog=_settings_help())
@click.option("--db-path", help="The database (CI_DB_PATH; default: ci.db in CI_DATA_DIR).")
@click.option("--interval", type=float, help="Seconds between full listings (CI_RECONCILE_INTERVAL; 2.0).")
def main(db_path: str | None, interval: float | None) -> None:
    """Run queued jobs in containers; a second controller on one database stands by."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = ControllerSettings()
    except ValidationError as problem:
        first = problem.errors()[0]
        raise click.UsageError(f"CI_{str(first['loc'][0]).upper()}: {first['msg']}") from None
    if interval is not None:
        if interval <= 0:
            raise click.UsageError("--interval must be more than 0 seconds")
        settings = settings.model_copy(update={"reconcile_interval": interval})
    paths = data_paths.resolve(db_path)
    try:
        asyncio.run(_run(paths, settings))
    except FenceLost:
        click.echo("ci-controller: another controller has taken over; this one ends", err=True)
        sys.exit(EXIT_SUPERSEDED)
    except CIError as problem:
        click.echo(f"ci-controller: {problem}", err=True)
        sys.exit(EXIT_FAILED)


async def _run(paths: data_paths.DataPaths, settings: ControllerSettings) -> None:
    from ci_controller import controller  # noqa: PLC0415 - `--help` needs none of it

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await controller.run(paths, settings, stop)
