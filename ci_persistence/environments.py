"""The cache's entries as SQL: which volume holds the packages of which key."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from ci_common.clock import to_iso
from ci_common.ids import VolumeName
from ci_common.models import Environment
from ci_persistence.rows import ENVIRONMENT_COLUMNS, environment_of

_SELECT = f"SELECT {ENVIRONMENT_COLUMNS} FROM environments"


def find(sql: sqlite3.Connection, key: str) -> Environment | None:
    """By key."""
    row = sql.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
    return None if row is None else environment_of(row)


def list_all(sql: sqlite3.Connection) -> Sequence[Environment]:
    """Oldest first."""
    return [environment_of(row) for row in sql.execute(f"{_SELECT} ORDER BY created_at, key").fetchall()]


def put(sql: sqlite3.Connection, environment: Environment) -> None:
    """In place of an older entry of its key."""
    sql.execute(
        f"INSERT INTO environments ({ENVIRONMENT_COLUMNS}) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET user_id = excluded.user_id, volume = excluded.volume, "
        "created_at = excluded.created_at, last_used_at = excluded.last_used_at",
        (
            environment.key,
            environment.user_id,
            environment.volume,
            to_iso(environment.created_at),
            to_iso(environment.last_used_at),
        ),
    )


def record_use(sql: sqlite3.Connection, volume: VolumeName, moment: datetime) -> None:
    """An entry that is gone is no error."""
    sql.execute("UPDATE environments SET last_used_at = ? WHERE volume = ?", (to_iso(moment), volume))


def forget(sql: sqlite3.Connection, volume: VolumeName) -> None:
    """An entry that is gone is no error."""
    sql.execute("DELETE FROM environments WHERE volume = ?", (volume,))
