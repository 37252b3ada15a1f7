"""How commands name a user: by id or by e-mail, one of the two."""

from dataclasses import dataclass

import click

from ci_common.ids import parse_user_id
from ci_common.models import User
from ci_common.repository import AccountRepository


@dataclass(frozen=True, slots=True)
class UserChoice:
    """What the command line said; at most one is set."""

    user_id: str | None
    email: str | None

    def __post_init__(self) -> None:
        if self.user_id is not None and self.email is not None:
            raise click.UsageError("Name the user by id or by --email, not both.")

    @property
    def is_made(self) -> bool:
        """Whether a user was named at all."""
        return self.user_id is not None or self.email is not None

    def require(self) -> None:
        """Refuse a command line that names nobody, before anything is opened."""
        if not self.is_made:
            raise click.UsageError("Name the user by id or by --email.")

    async def find(self, repository: AccountRepository) -> User:
        """The user that was named.

        Raises:
            InvalidInput: the id isn't a UUID.
            NotFound: there is no such user.
        """
        if self.email is not None:
            return await repository.get_user_by_email(self.email)
        assert self.user_id is not None, "`require` comes first"
        return await repository.get_user(parse_user_id(self.user_id))
