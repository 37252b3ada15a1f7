"""Users and keys in memory: the part of `MemoryRepository` that knows no jobs."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ci_common.clock import utc_now
from ci_common.errors import AlreadyExists, NotFound, NotPermitted
from ci_common.ids import KeyId, UserId, new_key_id, new_user_id
from ci_common.models import APIKey, StoredKey, User
from ci_common.repository import AccountRepository


class MemoryAccounts(AccountRepository):
    """Still abstract: deactivating needs jobs."""

    def __init__(self) -> None:
        self._users: dict[UserId, User] = {}
        self._keys: dict[KeyId, APIKey] = {}
        self._digests: dict[KeyId, bytes] = {}

    async def create_user(self, name: str, email: str) -> User:
        if any(user.email.casefold() == email.casefold() for user in self._users.values()):
            raise AlreadyExists(f"a user with the e-mail {email} already exists")
        user = User(id=new_user_id(), name=name, email=email, is_active=True, created_at=utc_now())
        self._users[user.id] = user
        return user

    async def get_user(self, user_id: UserId) -> User:
        if user_id not in self._users:
            raise NotFound(f"no user has the id {user_id}")
        return self._users[user_id]

    async def get_user_by_email(self, email: str) -> User:
        for user in self._users.values():
            if user.email.casefold() == email.casefold():
                return user
        raise NotFound(f"no user has the e-mail {email}")

    async def list_users(self) -> Sequence[User]:
        return list(self._users.values())

    def mark_user(self, user_id: UserId, *, is_active: bool) -> User:
        """Set the mark alone."""
        if user_id not in self._users:
            raise NotFound(f"no user has the id {user_id}")
        user = replace(self._users[user_id], is_active=is_active)
        self._users[user_id] = user
        return user

    async def create_key(
        self, user_id: UserId, name: str, prefix: str, digest: bytes, expires_at: datetime | None
    ) -> APIKey:
        await self.get_user(user_id)
        key = APIKey(
            id=new_key_id(),
            user_id=user_id,
            name=name,
            prefix=prefix,
            is_active=True,
            created_at=utc_now(),
            expires_at=expires_at,
        )
        self._keys[key.id] = key
        self._digests[key.id] = digest
        return key

    async def list_keys(self, user_id: UserId | None) -> Sequence[StoredKey]:
        return [self._stored(key) for key in self._keys.values() if user_id in {None, key.user_id}]

    async def revoke_key(self, key_id: KeyId) -> APIKey:
        if key_id not in self._keys:
            raise NotFound(f"no key has the id {key_id}")
        self._keys[key_id] = replace(self._keys[key_id], is_active=False)
        return self._keys[key_id]

    async def keys_with_prefix(self, prefix: str) -> Sequence[StoredKey]:
        return [self._stored(key) for key in self._keys.values() if key.prefix == prefix]

    async def record_key_use(self, key_ids: Sequence[KeyId], moment: datetime) -> None:
        for key_id in key_ids:
            key = self._keys.get(key_id)
            if key is not None and (key.last_used_at is None or key.last_used_at < moment):
                self._keys[key_id] = replace(key, last_used_at=moment)

    def require_good_key(self, key_id: KeyId, user_id: UserId) -> None:
        """NotPermitted unless key and user may submit."""
        key = self._keys.get(key_id)
        is_good = (
            key is not None
            and key.user_id == user_id
            and key.is_active
            and self._users[user_id].is_active
            and (key.expires_at is None or key.expires_at > utc_now())
        )
        if not is_good:
            raise NotPermitted("the API key is not good any more")

    def _stored(self, key: APIKey) -> StoredKey:
        return StoredKey(key=key, user=self._users[key.user_id], digest=self._digests[key.id])
