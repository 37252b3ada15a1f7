"""Judges an archive that has arrived, and makes a job's bundle of it where it only names some contents.

Whatever becomes a bundle was judged by `ci_common.bundle`, the composed one too: its pieces when they
first came, its directory once more as a whole. All calls block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ci_common.bundle import BundleLimits, read_bundle
from ci_common.bundle_store import BundleStore, IncomingBundle
from ci_common.content_store import Changes, Content, ContentStore, read_changes
from ci_common.ids import UserId
from ci_server.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Checked:
    """An archive that may become a job's bundle."""

    bundle: IncomingBundle
    size_bytes: int
    contents: Sequence[Content] | None
    """Of its files, where they are to be kept for later submissions."""


class ArchiveCheck:
    """What judging needs to know."""

    def __init__(self, bundles: BundleStore, contents: ContentStore, settings: ServerSettings) -> None:
        self._bundles = bundles
        self._contents = contents
        self._max_bytes = settings.max_upload_bytes
        self._limits: BundleLimits = settings.bundle_limits()

    def judge(self, arrived: IncomingBundle, arrived_bytes: int, *, wants_kept: bool) -> Checked | Changes:
        """Judge what has arrived; if it names contents, what there is to compose.

        Raises:
            InvalidInput: it breaks a rule.
        """
        arrived.file.flush()
        bundle = read_bundle(arrived.file, self._limits, references_allowed=True)
        if any(entry.is_reference for entry in bundle.entries):
            return read_changes(bundle)
        if not wants_kept:
            bundle.verify()
            return Checked(arrived, arrived_bytes, None)
        return Checked(arrived, arrived_bytes, list(read_changes(bundle).held.values()))

    def compose(self, changes: Changes, user_id: UserId) -> Checked:
        """Make a bundle of an archive that names contents.

        Raises:
            InvalidInput: they aren't kept, or the whole breaks a rule.
            StorageFull: there is no room for it.
        """
        composed = self._bundles.receive()
        try:
            contents = self._contents.compose(user_id, changes, composed.file, self._max_bytes)
            read_bundle(composed.file, self._limits)
        except BaseException:
            composed.discard()
            raise
        return Checked(composed, composed.file.seek(0, 2), contents)
