"""Where uploaded archives lie between submission and the end of their jobs, as an interface.

A bundle appears under its job's id only inside the transaction that makes the job. All calls block:
callers on an event loop run them in a thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import BinaryIO

from ci_common.ids import JobId


class IncomingBundle(ABC):
    """An archive that is being received; it has no name and vanishes with its process."""

    @property
    @abstractmethod
    def file(self) -> BinaryIO:
        """Open for writing and reading, with seek."""

    @abstractmethod
    def sync(self) -> None:
        """Make the content durable ahead of `publish`, which holds a lock that others wait for.

        Raises:
            StorageFull: the disk can't take it.
        """

    @abstractmethod
    def publish(self, job_id: JobId) -> None:
        """Make it durable, then let it appear as the job's bundle, in one step.

        Only for the transaction that makes the job: a bundle that is already there was left by a
        process that died between this call and its commit, and is replaced.

        Raises:
            StorageFull: the disk can't take it.
        """

    @abstractmethod
    def discard(self) -> None:
        """Release it; what was published stays. Calling it twice is no error."""


class BundleStore(ABC):
    """All bundles of one installation."""

    @abstractmethod
    def receive(self) -> IncomingBundle:
        """A new empty one.

        Raises:
            StorageFull: below the reserve of free disk.
        """

    @abstractmethod
    def open(self, job_id: JobId) -> BinaryIO:
        """Open the job's bundle for reading, with seek.

        Raises:
            NotFound: it isn't there.
        """

    @abstractmethod
    def delete(self, job_id: JobId) -> None:
        """It is no longer needed; one that isn't there is no error."""

    @abstractmethod
    def job_ids(self) -> Iterator[JobId]:
        """The jobs that have one."""
