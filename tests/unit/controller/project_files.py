"""Projects as archives in memory, for the tests of what is read from them."""

import io
import zipfile
from collections.abc import Mapping
from typing import Final

from ci_common.bundle import Bundle, BundleLimits, read_bundle

_SYMLINK_MODE: Final = 0o120777 << 16


def bundle_of(files: Mapping[str, str | bytes], links: Mapping[str, str] | None = None) -> Bundle:
    """An archive of these files and symlinks."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        for name, content in files.items():
            writer.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = _SYMLINK_MODE
            writer.writestr(info, target)
    archive.seek(0)
    return read_bundle(archive, BundleLimits())
