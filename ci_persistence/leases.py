"""The lease as SQL: one row says which controller leads; its fence stands in front of every write."""

import sqlite3

from ci_common.clock import to_iso, utc_now
from ci_common.errors import FenceLost
from ci_common.ids import Fence
from ci_common.models import ControllerState, Lease, LeaseHolder
from ci_persistence.rows import LEASE_COLUMNS, lease_of
from ci_persistence.transaction import Transaction


def present(sql: sqlite3.Connection) -> Lease | None:
    """None before the first leadership."""
    row = sql.execute(f"SELECT {LEASE_COLUMNS} FROM lease").fetchone()
    return None if row is None else lease_of(row)


def require(sql: sqlite3.Connection, fence: Fence) -> None:
    """FenceLost unless `fence` is that of the present leadership."""
    row: tuple[int, int | None] | None = sql.execute("SELECT fence, pid FROM lease").fetchone()
    if row is None or row[0] != fence:
        raise FenceLost(f"another controller has taken over from leadership {fence}")
    if row[1] is None:
        raise FenceLost(f"leadership {fence} has ended")


def take(transaction: Transaction, holder: LeaseHolder, after: Fence | None) -> Lease:
    """One past `after`, or FenceLost where that isn't the present one."""
    sql = transaction.sql
    lease = present(sql)
    fence = None if lease is None else lease.fence
    if fence != after:
        raise FenceLost(f"leadership {fence} was begun by another controller")
    taken = Lease(
        fence=Fence((after or 0) + 1),
        holder=holder,
        beat=0,
        beat_time=utc_now(),
        state=ControllerState.STARTING,
        detail="",
    )
    sql.execute(
        f"REPLACE INTO lease (only, {LEASE_COLUMNS}) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            taken.fence,
            holder.pid,
            holder.start_ticks,
            holder.boot_id,
            taken.beat,
            to_iso(taken.beat_time),
            taken.state.value,
            taken.detail,
        ),
    )
    transaction.tell_servers_everything()
    return taken


def beat(transaction: Transaction, state: ControllerState, detail: str) -> None:
    """The fence has been checked. Waiting jobs are told when there is news."""
    sql = transaction.sql
    lease = present(sql)
    assert lease is not None, "a leadership beats"
    sql.execute(
        "UPDATE lease SET beat = beat + 1, beat_time = ?, state = ?, detail = ?",
        (to_iso(utc_now()), state.value, detail),
    )
    if (lease.state, lease.detail) != (state, detail):
        transaction.tell_servers_everything()


def leave(transaction: Transaction) -> None:
    """The fence has been checked; it is no longer good afterwards."""
    transaction.sql.execute(
        "UPDATE lease SET pid = NULL, start_ticks = NULL, boot_id = NULL, "
        "beat_time = ?, state = ?, detail = ''",
        (to_iso(utc_now()), ControllerState.STOPPED.value),
    )
    transaction.tell_servers_everything()
