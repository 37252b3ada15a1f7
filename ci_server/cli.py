"""`ci-server`: uvicorn with what this application needs of it."""

import logging
import sys
import textwrap
from contextlib import suppress

import click
import uvicorn
from pydantic import ValidationError

from ci_persistence import data_paths
from ci_server.factory import create_app
from ci_server.quiet_server import QuietServer
from ci_server.settings import ServerSettings, described_settings, variable_of
from ci_server.storage import sqlite_storage

_GRACE_SECONDS = 30
"""For uploads that are under way when the server is told to stop; streams end at once."""
_EXIT_BAD_USE = 2
_EXIT_NOT_STARTED = 3
"""As `python -m uvicorn` exits."""


def _settings_help() -> str:
    lines = ["\b", "Settings, read from the environment once at start:"]
    for name, default, description in described_settings():
        lines.append(f"  {name} (default {default})")
        lines += textwrap.wrap(description, 72, initial_indent=" " * 6, subsequent_indent=" " * 6)
    lines += [
        "  CI_DATA_DIR (default ~/.ci/data, or the folder of CI_DB_PATH)",
        "      Where database and uploads lie.",
        "  CI_DB_PATH (default ci.db in CI_DATA_DIR)",
        "      The database; --db-path comes before it.",
    ]
    return "\n".join(lines)


@click.command(epilog=_settings_help(), context_settings={"max_content_width": 100})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port.")
@click.option("--db-path", help="The database file.  [default: CI_DB_PATH, or ci.db in CI_DATA_DIR]")
@click.option("--access-log", is_flag=True, help="Log every request.")
def cli(host: str, port: int, db_path: str | None, *, access_log: bool) -> None:
    """Serve the HTTP interface; any number of servers may share one database."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = _settings()
    paths = data_paths.resolve(db_path)
    server = QuietServer(
        uvicorn.Config(
            create_app(settings, sqlite_storage(paths)),
            host=host,
            port=port,
            access_log=access_log,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_EXIT_NOT_STARTED)


def _settings() -> ServerSettings:
    try:
        return ServerSettings()
    except ValidationError as error:
        for fault in error.errors():
            click.echo(f"ci-server: {variable_of(str(fault['loc'][0]))}: {fault['msg']}", err=True)
        sys.exit(_EXIT_BAD_USE)
