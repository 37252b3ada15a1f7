"""Users and keys as SQL; each function is the whole work of one transaction."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from ci_common.clock import to_iso, utc_now
from ci_common.errors import AlreadyExists, NotFound, NotPermitted
from ci_common.ids import KeyId, UserId, new_key_id, new_user_id
from ci_common.models import APIKey, StoredKey, User
from ci_persistence.rows import KEY_COLUMNS, USER_COLUMNS, json_array, key_of, stored_key_of, text_of, user_of
from ci_persistence.transaction import Transaction

_SELECT_USER = f"SELECT {USER_COLUMNS} FROM users"
_SELECT_KEY = f"SELECT {KEY_COLUMNS} FROM api_keys"
_SELECT_STORED_KEY = f"SELECT {KEY_COLUMNS}, {USER_COLUMNS} FROM api_keys JOIN users ON users.id = user_id"


def create_user(transaction: Transaction, name: str, email: str) -> User:
    """A new one, or AlreadyExists."""
    sql = transaction.sql
    if sql.execute("SELECT 1 FROM users WHERE email_folded = ?", (email.casefold(),)).fetchone():
        raise AlreadyExists(f"a user with the e-mail {email} already exists")
    user = User(id=new_user_id(), name=name, email=email, is_active=True, created_at=utc_now())
    sql.execute(
        "INSERT INTO users (id, name, email, email_folded, is_active, created_at) VALUES (?, ?, ?, ?, 1, ?)",
        (user.id, name, email, email.casefold(), to_iso(user.created_at)),
    )
    return user


def get_user(sql: sqlite3.Connection, user_id: UserId) -> User:
    """By id, or NotFound."""
    row = sql.execute(f"{_SELECT_USER} WHERE id = ?", (user_id,)).fetchone()
    if row is None:
        raise NotFound(f"no user has the id {user_id}")
    return user_of(row)


def get_user_by_email(sql: sqlite3.Connection, email: str) -> User:
    """By e-mail in any case, or NotFound."""
    row = sql.execute(f"{_SELECT_USER} WHERE email_folded = ?", (email.casefold(),)).fetchone()
    if row is None:
        raise NotFound(f"no user has the e-mail {email}")
    return user_of(row)


def list_users(sql: sqlite3.Connection) -> Sequence[User]:
    """All, oldest first."""
    return [user_of(row) for row in sql.execute(f"{_SELECT_USER} ORDER BY number").fetchall()]


def set_active(sql: sqlite3.Connection, user_id: UserId, *, is_active: bool) -> User:
    """The mark alone, or NotFound; `activation` has what follows from it."""
    sql.execute("UPDATE users SET is_active = ? WHERE id = ?", (int(is_active), user_id))
    return get_user(sql, user_id)


def create_key(
    transaction: Transaction,
    user_id: UserId,
    *,
    name: str,
    prefix: str,
    digest: bytes,
    expires_at: datetime | None,
) -> APIKey:
    """A new one of a user that exists, or NotFound."""
    get_user(transaction.sql, user_id)
    key = APIKey(
        id=new_key_id(),
        user_id=user_id,
        name=name,
        prefix=prefix,
        is_active=True,
        created_at=utc_now(),
        expires_at=expires_at,
    )
    transaction.sql.execute(
        "INSERT INTO api_keys (id, user_id, name, prefix, digest, is_active, created_at, expires_at) "
        "VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
        (key.id, user_id, name, prefix, digest, to_iso(key.created_at), text_of(expires_at)),
    )
    return key


def list_keys(sql: sqlite3.Connection, user_id: UserId | None) -> Sequence[StoredKey]:
    """A user's or everybody's, oldest first."""
    if user_id is None:
        rows = sql.execute(f"{_SELECT_STORED_KEY} ORDER BY api_keys.number").fetchall()
    else:
        rows = sql.execute(
            f"{_SELECT_STORED_KEY} WHERE user_id = ? ORDER BY api_keys.number", (user_id,)
        ).fetchall()
    return [stored_key_of(row) for row in rows]


def revoke_key(transaction: Transaction, key_id: KeyId) -> APIKey:
    """Refused from now on, or NotFound."""
    sql = transaction.sql
    sql.execute("UPDATE api_keys SET is_active = 0 WHERE id = ?", (key_id,))
    row = sql.execute(f"{_SELECT_KEY} WHERE id = ?", (key_id,)).fetchone()
    if row is None:
        raise NotFound(f"no key has the id {key_id}")
    transaction.tell_servers_everything()
    return key_of(row)


def keys_with_prefix(sql: sqlite3.Connection, prefix: str) -> Sequence[StoredKey]:
    """Whatever their state."""
    rows = sql.execute(f"{_SELECT_STORED_KEY} WHERE prefix = ?", (prefix,)).fetchall()
    return [stored_key_of(row) for row in rows]


def record_key_use(transaction: Transaction, key_ids: Sequence[KeyId], moment: datetime) -> None:
    """Never back in time: replicas tell of it in any order."""
    transaction.sql.execute(
        "UPDATE api_keys SET last_used_at = ?1 WHERE id IN (SELECT value FROM json_each(?2)) "
        "AND (last_used_at IS NULL OR last_used_at < ?1)",
        (to_iso(moment), json_array(key_ids)),
    )


def require_good_key(sql: sqlite3.Connection, key_id: KeyId, user_id: UserId) -> None:
    """NotPermitted unless the key is this user's, active and unexpired, and the user active."""
    row = sql.execute(f"{_SELECT_STORED_KEY} WHERE api_keys.id = ?", (key_id,)).fetchone()
    if row is None:
        raise NotPermitted("the API key does not exist any more")
    stored = stored_key_of(row)
    if stored.user.id != user_id:
        raise NotPermitted("the API key belongs to another user")
    if not stored.key.is_active:
        raise NotPermitted("the API key has been revoked")
    if not stored.user.is_active:
        raise NotPermitted("the user of this API key has been deactivated")
    if stored.key.expires_at is not None and stored.key.expires_at <= utc_now():
        raise NotPermitted("the API key has expired")
