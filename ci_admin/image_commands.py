"""`ci-admin image …`: the base images that jobs start from, shared by all installations on an engine."""

import re

import click

from ci_admin import engine, output
from ci_admin.options import database_option, json_option

_VERSION = re.compile(r"3\.\d{1,2}")


@click.group()
@database_option
def image() -> None:
    """Base images: what jobs start from."""


def _python_version(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _VERSION.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a version like 3.11", param=parameter)
    return value


@image.command("build")
@click.option("--python", metavar="X.Y", callback=_python_version, help="The version of Python in it.")
@database_option
def build_image(python: str | None) -> None:
    """Build a base image: from a slim official one, or else from Debian packages; says which."""
    built = engine.run(lambda manager: manager.build_base_image(python, engine.report))
    click.echo(f"Built {built.name} with Python {built.python}")


@image.command("list")
@json_option
@database_option
def list_images(as_json: bool) -> None:
    """List the base images that the engine has, newest first."""
    found = engine.run(lambda manager: manager.list_base_images())
    if as_json:
        described = [
            {
                "name": each.name,
                "python": each.python,
                "created_at": output.iso(each.created_at),
                "size_bytes": each.size_bytes,
            }
            for each in found
        ]
        click.echo(output.as_json(described))
        return
    rows = [
        (each.name, each.python, output.moment(each.created_at), output.size(each.size_bytes))
        for each in found
    ]
    click.echo(output.table(("NAME", "PYTHON", "CREATED", "SIZE"), rows))
