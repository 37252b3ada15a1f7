"""Letting a user in and shutting one out, with all that follows from it, as one transaction."""

from ci_common.ids import UserId
from ci_common.models import Reason, User
from ci_persistence import accounts, job_writes
from ci_persistence.transaction import Transaction


def set_user_active(transaction: Transaction, user_id: UserId, *, is_active: bool) -> User:
    """Deactivating asks for the cancellation of what the user has unfinished."""
    user = accounts.set_active(transaction.sql, user_id, is_active=is_active)
    if not is_active:
        job_writes.cancel_all_of(transaction, user_id, Reason.USER_DEACTIVATED)
    transaction.tell_servers_everything()
    return user
