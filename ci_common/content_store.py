"""What a user has sent lately, by content: lets a submission name files that haven't changed.

Each user has a store of their own: whoever could name anybody's content by its hash could fetch it. The
hashes are the server's, computed while it judged the archives that it keeps. All of it is a cache: any
part may be gone at any moment, and then the files are sent again. All calls block.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ci_common.bundle import Bundle, BundleEntry
from ci_common.errors import InvalidInput
from ci_common.ids import JobId, UserId


class ContentsGone(InvalidInput):
    """Contents that a submission names aren't kept any more; it must be sent whole."""


@dataclass(frozen=True, slots=True)
class Content:
    """One file's data as they lie in an archive, packed."""

    digest: bytes
    """SHA-256 of what they unpack to."""
    offset: int
    compressed_bytes: int
    size_bytes: int
    crc: int
    method: int


@dataclass(frozen=True, slots=True)
class Changes:
    """A submission's archive, judged and read: what it holds, and what it only names."""

    bundle: Bundle
    held: Mapping[str, Content]
    """Of its files, by path."""
    named: Mapping[str, bytes]
    """SHA-256 of what belongs to the other files, by path."""


def read_changes(bundle: Bundle) -> Changes:
    """Verify what `bundle` holds, and list its contents.

    Raises:
        BundleRejected: the data of an entry are not what the directory announces.
    """
    held: dict[str, Content] = {}

    def note(entry: BundleEntry, digest: bytes) -> None:
        offset, packed_bytes = bundle.packed(entry)
        record = entry.record
        held[entry.path] = Content(digest, offset, packed_bytes, record.size_bytes, record.crc, record.method)

    bundle.verify(note)
    named = {entry.path: bundle.named_digest(entry) for entry in bundle.entries if entry.is_reference}
    return Changes(bundle, held, named)


class ContentStore(ABC):
    """The kept contents of one installation."""

    @abstractmethod
    def held(self, user_id: UserId, digests: Collection[bytes]) -> Collection[bytes]:
        """Those of `digests` that are kept for this user."""

    @abstractmethod
    def compose(
        self, user_id: UserId, changes: Changes, target: BinaryIO, max_bytes: int
    ) -> Sequence[Content]:
        """Write the archive that `changes` means to `target`: what it holds and what it names, in its order.

        The answer are all contents of that archive, which still has to be judged as any other.

        Raises:
            ContentsGone: a content isn't kept any more.
            StorageFull: there is no room for it.
            InvalidInput: a content has another size than announced, or the archive would have more than
                `max_bytes`.
        """

    @abstractmethod
    def keep(self, user_id: UserId, job_id: JobId, contents: Sequence[Content]) -> None:
        """Keep the bundle of a job that was just made, beyond the job's end; the older ones make room."""

    @abstractmethod
    def sweep(self) -> None:
        """Give up what is too old, or takes room that is needed."""
