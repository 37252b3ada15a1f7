"""What a piece of writing work is given: the connection, inside a transaction, and whom to tell of it.

The telling happens after the commit, by `Writer`; a transaction that fails tells nobody.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

from ci_common.ids import JobId
from ci_persistence.announcements import Audience

Result = TypeVar("Result")


class Durability(Enum):
    """What a commit survives."""

    POWER_LOSS = auto()
    """All that somebody was told: submissions, cancellations, revocations."""
    PROCESS = auto()
    """Any process's death; after power loss the last moments may be missing."""


@dataclass(slots=True)
class Transaction:
    """One transaction under way, between BEGIN IMMEDIATE and COMMIT."""

    sql: sqlite3.Connection
    told: dict[Audience, set[JobId]] = field(default_factory=dict[Audience, set[JobId]])
    tells_everything: bool = False

    def tell_servers(self, job_id: JobId) -> None:
        """Replicas have something new to show of this job."""
        self.told.setdefault(Audience.SERVER, set()).add(job_id)

    def tell_servers_everything(self) -> None:
        """Replicas must look again at all that they have open."""
        self.tells_everything = True

    def tell_controllers(self, job_id: JobId) -> None:
        """The controller must look at this job."""
        self.told.setdefault(Audience.CONTROLLER, set()).add(job_id)


TransactionWork = Callable[[Transaction], Result]
