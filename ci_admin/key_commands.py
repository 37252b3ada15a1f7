"""`ci-admin key …`: what users prove themselves with. A key's text is printed once and never stored."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import click

from ci_admin import database, output
from ci_admin.accounts import UserChoice
from ci_admin.options import Command, database_option, json_option
from ci_common.api_keys import new_key
from ci_common.clock import to_iso, utc_now
from ci_common.ids import parse_key_id
from ci_common.models import APIKey, StoredKey, User
from ci_common.repository import ControllerRepository

_LONGEST_LIFE_DAYS = 36_500


@click.group()
@database_option
def key() -> None:
    """API keys: what users prove themselves with."""


def _owner_choice(command: Command) -> Command:
    by_email = click.option("--email", help="The owner's e-mail address.")(command)
    return click.option("--user-id", help="The owner's id, in place of --email.")(by_email)


@key.command("create")
@click.option("--name", required=True, help="Tells the owner's keys apart: `laptop`, `nightly`.")
@_owner_choice
@click.option(
    "--expires-in-days",
    type=click.IntRange(1, _LONGEST_LIFE_DAYS),
    help="Refuse the key from then on; without this it never expires.",
)
@database_option
def create_key(name: str, user_id: str | None, email: str | None, expires_in_days: int | None) -> None:
    """Create a key for a user and print it, this one time."""
    choice = UserChoice(user_id, email)
    choice.require()
    if not name.strip() or not name.isprintable():
        raise click.BadParameter("one line of printable text is expected", param_hint="'--name'")
    made = new_key()

    async def create(repository: ControllerRepository) -> tuple[User, APIKey]:
        owner = await choice.find(repository)
        expires_at = None if expires_in_days is None else utc_now() + timedelta(days=expires_in_days)
        stored = await repository.create_key(owner.id, name.strip(), made.prefix, made.digest, expires_at)
        return owner, stored

    owner, stored = database.run(create)
    click.echo(f"Key created for {owner.email}\nKey ID: {stored.id}\nAPI Key: {made.text}")
    click.echo("This is the only time that the key is shown: store it now.")
    if not owner.is_active:
        click.echo(f"{owner.email} is deactivated: the key works once the user is activated.", err=True)


@key.command("list")
@_owner_choice
@json_option
@database_option
def list_keys(user_id: str | None, email: str | None, as_json: bool) -> None:
    """List a user's keys, or everybody's, revoked ones included."""
    choice = UserChoice(user_id, email)

    async def find(repository: ControllerRepository) -> Sequence[StoredKey]:
        owner = await choice.find(repository) if choice.is_made else None
        return await repository.list_keys(None if owner is None else owner.id)

    found = database.run(find)
    now = utc_now()
    if as_json:
        click.echo(output.as_json([_described(each, now) for each in found]))
        return
    header = ("KEY ID", "PREFIX", "OWNER", "STATE", "CREATED", "LAST USED", "EXPIRES", "NAME")
    rows = [
        (
            each.key.id,
            each.key.prefix,
            each.user.email,
            key_state(each, now),
            output.moment(each.key.created_at),
            output.moment(each.key.last_used_at),
            output.moment(each.key.expires_at),
            each.key.name,
        )
        for each in found
    ]
    click.echo(output.table(header, rows))


@key.command("revoke")
@click.argument("key_id")
@database_option
def revoke_key(key_id: str) -> None:
    """Refuse a key from now on; jobs that it submitted go on."""
    wanted = parse_key_id(key_id)
    revoked = database.run(lambda repository: repository.revoke_key(wanted))
    click.echo(f"Key {revoked.id} ({revoked.name}) is revoked; its running jobs go on")


def key_state(stored: StoredKey, now: datetime) -> str:
    """Whether the server takes the key, and if not, why, in one or two words."""
    if not stored.key.is_active:
        return "revoked"
    if stored.key.expires_at is not None and stored.key.expires_at <= now:
        return "expired"
    return "active" if stored.user.is_active else "user deactivated"


def _described(stored: StoredKey, now: datetime) -> dict[str, object]:
    shown = stored.key
    return {
        "id": shown.id,
        "name": shown.name,
        "user_id": shown.user_id,
        "user_email": stored.user.email,
        "prefix": shown.prefix,
        "is_active": shown.is_active,
        "state": key_state(stored, now),
        "created_at": to_iso(shown.created_at),
        "last_used_at": output.iso(shown.last_used_at),
        "expires_at": output.iso(shown.expires_at),
    }
