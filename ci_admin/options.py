"""Options that several commands share, declared once."""

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])

_DB_PATH = "ci_admin.db_path"


def _remember_db_path(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.meta[_DB_PATH] = value


def database_option(command: Command) -> Command:
    """`--db-path`, taken before and after the command's name; the last one wins."""
    return click.option(
        "--db-path",
        metavar="FILE",
        expose_value=False,
        callback=_remember_db_path,
        help="The database, in place of CI_DB_PATH.",
    )(command)


def chosen_db_path() -> str | None:
    """What `--db-path` said; None leaves it to the environment."""
    value = click.get_current_context().meta.get(_DB_PATH)
    assert value is None or isinstance(value, str)
    return value


def json_option(command: Command) -> Command:
    """`--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)
