"""Where an archive lies until it is sent: in memory while it is small, else in a file without a name.

Nothing is left behind, however the process ends; and a small project needs no temporary file, nor what
is loaded to make one.
"""

import io
import os
from typing import BinaryIO, Protocol, Self, cast


class ArchiveTarget(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to another place."""
        ...

    def flush(self) -> None:
        """Let others read what was written."""
        ...


class ArchiveFile:
    """A file for one archive; `close` releases it."""

    def __init__(self, most_in_memory_bytes: int) -> None:
        self._most_in_memory_bytes = most_in_memory_bytes
        self._memory: io.BytesIO | None = io.BytesIO()
        self._file: BinaryIO = self._memory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes, /) -> int:
        """Write all of `data`.

        Raises:
            OSError: there is no room for it.
        """
        if self._memory is not None and self._memory.tell() + len(data) > self._most_in_memory_bytes:
            self._move_to_disk(self._memory)
        return self._file.write(data)

    def read(self, size_bytes: int = -1, /) -> bytes:
        """The next bytes."""
        return self._file.read(size_bytes)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to another place; where that is."""
        return self._file.seek(offset, whence)

    def flush(self) -> None:
        """Let others read what was written."""
        self._file.flush()

    def close(self) -> None:
        """Release it."""
        self._file.close()

    def _move_to_disk(self, memory: io.BytesIO) -> None:
        import tempfile  # noqa: PLC0415 - small projects need none, and the import takes time

        # On Windows it is a wrapper that has all that a file has.
        file = cast("BinaryIO", tempfile.TemporaryFile(prefix="ci-"))  # noqa: SIM115 - closed by `close`
        position = memory.tell()
        file.write(memory.getbuffer())
        file.seek(position)
        self._file, self._memory = file, None
