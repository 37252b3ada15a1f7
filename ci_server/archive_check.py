"""Judges an archive that has arrived, and makes a job's bundle of it where it only names some contents.

Whatever becomes a bundle was judged by `ci_common.bundle`, the composed one too: its pieces when they
first came, its directory once more as a whole. All calls block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ci_common.bundle import Bundle, BundleLimits, read_bundle
from ci_common.bundle_store import BundleStore, IncomingBundle
from ci_common.content_store import Content, ContentStore, read_changes
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

    def judge(
        self, arrived: IncomingBundle, arrived_bytes: int, user_id: UserId, *, wants_kept: bool
    ) -> Checked:
        """Judge what has arrived. The answer's bundle is another one if it had to be composed.

        Raises:
            InvalidInput: it breaks a rule, or names what isn't kept.
            StorageFull: there is no room to compose it.
        """
        arrived.file.flush()
        bundle = read_bundle(arrived.file, self._limits, references_allowed=True)
        if any(entry.is_reference for entry in bundle.entries):
            return self._composed(bundle, user_id)
        if not wants_kept:
            bundle.verify()
            return Checked(arrived, arrived_bytes, None)
        return Checked(arrived, arrived_bytes, list(read_changes(bundle).held.values()))

    def _composed(self, bundle: Bundle, user_id: UserId) -> Checked:
        changes = read_changes(bundle)
        composed = self._bundles.receive()
        try:
            contents = self._contents.compose(user_id, changes, composed.file, self._max_bytes)
            read_bundle(composed.file, self._limits)
        except BaseException:
            composed.discard()
            raise
        return Checked(composed, composed.file.seek(0, 2), contents)
