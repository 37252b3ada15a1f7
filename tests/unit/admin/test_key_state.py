"""Why a key is taken or refused, as lists show it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ci_admin.key_commands import key_state
from ci_common.ids import KeyId, UserId
from ci_common.models import APIKey, StoredKey, User

NOW = datetime(2026, 1, 1, tzinfo=UTC)
USER = User(id=UserId("u"), name="Ada", email="ada@example.com", is_active=True, created_at=NOW)
KEY = APIKey(id=KeyId("k"), user_id=USER.id, name="laptop", prefix="abcdefgh", is_active=True, created_at=NOW)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("key", "user", "state"),
    [
        (KEY, USER, "active"),
        (replace(KEY, expires_at=NOW + SECOND), USER, "active"),
        (replace(KEY, expires_at=NOW), USER, "expired"),
        (replace(KEY, is_active=False, expires_at=NOW), USER, "revoked"),
        (KEY, replace(USER, is_active=False), "user deactivated"),
    ],
)
def test_state(key: APIKey, user: User, state: str) -> None:
    assert key_state(StoredKey(key=key, user=user, digest=b""), NOW) == state
