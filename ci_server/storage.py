"""Where the server's data come from: the one place that knows which persistence is behind it."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from ci_common.bundle_store import BundleStore
from ci_common.content_store import ContentStore
from ci_common.repository import JobRepository
from ci_persistence.announcements import Audience
from ci_persistence.bundle_files import DirectoryBundleStore
from ci_persistence.change_feed import ChangeFeed
from ci_persistence.content_files import DirectoryContentStore
from ci_persistence.data_paths import DataPaths
from ci_persistence.sqlite_repository import SQLiteJobRepository
from ci_server.stream_hub import WakeSource

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Storage:
    """Opened and ready."""

    jobs: JobRepository
    bundles: BundleStore
    contents: ContentStore
    changes: WakeSource


StorageOpener = Callable[[], AbstractAsyncContextManager[Storage]]
"""Opens it, and closes it at the context's end; raises SchemaMismatch while it can't be used."""


def sqlite_storage(paths: DataPaths) -> StorageOpener:
    """The storage of one installation on this machine."""

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Storage]:
        repository = SQLiteJobRepository(paths.db_path)
        feed = ChangeFeed(paths.db_path, Audience.SERVER)
        try:
            await repository.initialize()
            if repository.created:
                _log.warning("created the database %s", paths.db_path)
            instance_id = await repository.instance_id()
            contents = DirectoryContentStore(paths.data_dir, instance_id)
            bundles = DirectoryBundleStore(paths.data_dir, instance_id, reclaim=contents.make_room)
            await feed.start()
            yield Storage(jobs=repository, bundles=bundles, contents=contents, changes=feed.subscribe(None))
        finally:
            await feed.close()
            await repository.close()

    return opened
