"""`ci-admin user …`: who may submit jobs."""

from collections.abc import Sequence

import click

from ci_admin import database, output
from ci_admin.accounts import UserChoice
from ci_admin.options import Command, database_option, json_option
from ci_common.clock import to_iso
from ci_common.errors import AlreadyExists
from ci_common.models import User
from ci_common.repository import ControllerRepository


@click.group()
@database_option
def user() -> None:
    """Users: who may submit jobs."""


def _user_choice(command: Command) -> Command:
    named = click.argument("user_id", required=False)(command)
    return click.option("--email", help="The user's e-mail address, in place of the id.")(named)


def _line_of_text(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    text = value.strip()
    if not text or not text.isprintable():
        raise click.BadParameter("one line of printable text is expected", param=parameter)
    return text


def _address(context: click.Context, parameter: click.Parameter, value: str) -> str:
    text = _line_of_text(context, parameter, value)
    local, at, domain = text.rpartition("@")
    if not (local and at and domain) or any(c.isspace() for c in text):
        raise click.BadParameter(f"{text!r} is not an e-mail address", param=parameter)
    return text


@user.command("create")
@click.option("--name", required=True, callback=_line_of_text, help="For people to read.")
@click.option("--email", required=True, callback=_address, help="Names the user in other commands; unique.")
@database_option
def create_user(name: str, email: str) -> None:
    """Create a user. A key is made separately: `ci-admin key create`."""

    async def create(repository: ControllerRepository) -> User:
        try:
            return await repository.create_user(name, email)
        except AlreadyExists:
            raise AlreadyExists(f"a user with the e-mail address {email} already exists") from None

    created = database.run(create)
    click.echo(f"User created successfully\nUser ID: {created.id}")


@user.command("list")
@json_option
@database_option
def list_users(as_json: bool) -> None:
    """List all users, oldest first."""
    click.echo(_listed(database.run(lambda repository: repository.list_users()), as_json=as_json))


@user.command("get")
@_user_choice
@json_option
@database_option
def get_user(user_id: str | None, email: str | None, as_json: bool) -> None:
    """Show one user, by USER_ID or --email."""
    choice = UserChoice(user_id, email)
    choice.require()
    found = database.run(choice.find)
    if as_json:
        click.echo(output.as_json(_described(found)))
        return
    click.echo(
        output.fields(
            {
                "ID": found.id,
                "Name": found.name,
                "E-mail": found.email,
                "State": _state(found),
                "Created": output.moment(found.created_at),
            }
        )
    )


@user.command("activate")
@_user_choice
@database_option
def activate_user(user_id: str | None, email: str | None) -> None:
    """Let a user's keys work again."""
    changed = _set_active(UserChoice(user_id, email), is_active=True)
    click.echo(f"User {changed.email} is active")


@user.command("deactivate")
@_user_choice
@database_option
def deactivate_user(user_id: str | None, email: str | None) -> None:
    """Refuse a user's keys and cancel the user's unfinished jobs."""
    changed = _set_active(UserChoice(user_id, email), is_active=False)
    click.echo(f"User {changed.email} is deactivated; unfinished jobs of this user are cancelled")


def _set_active(choice: UserChoice, *, is_active: bool) -> User:
    choice.require()

    async def change(repository: ControllerRepository) -> User:
        found = await choice.find(repository)
        return await repository.set_user_active(found.id, is_active)

    return database.run(change)


def _listed(users: Sequence[User], *, as_json: bool) -> str:
    if as_json:
        return output.as_json([_described(each) for each in users])
    header = ("USER ID", "E-MAIL", "STATE", "CREATED", "NAME")
    rows = [(each.id, each.email, _state(each), output.moment(each.created_at), each.name) for each in users]
    return output.table(header, rows)


def _described(described: User) -> dict[str, object]:
    return {
        "id": described.id,
        "name": described.name,
        "email": described.email,
        "is_active": described.is_active,
        "created_at": to_iso(described.created_at),
    }


def _state(shown: User) -> str:
    return "active" if shown.is_active else "deactivated"
