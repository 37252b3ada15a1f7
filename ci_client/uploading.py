"""The body of a submission: a multipart form of known length, streamed from the archive."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from ci_client.interrupts import Stopped
from ci_client.problems import InternalFault, cause_of
from ci_client.transport import Body

_CHUNK_BYTES = 256 << 10


class SendingState:
    """Whether a submission may have arrived, shared between the sender and whoever interrupts it.

    The last bytes of a body are released only if nobody has stopped it before: so whoever stops it
    knows for certain whether a job can exist.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_stopped = False
        self._unanswered_count = 0
        """Whole bodies of which nobody knows whether a job comes of them."""

    def stop(self) -> bool:
        """End the sending; whether a job may exist nevertheless."""
        with self._lock:
            self._is_stopped = True
            return self.may_exist

    def check(self) -> None:
        """Raises Stopped once somebody has stopped it."""
        if self._is_stopped:
            raise Stopped

    def release_end(self) -> None:
        """The body will be complete.

        Raises:
            Stopped: no, it won't.
        """
        with self._lock:
            self.check()
            self._unanswered_count += 1

    def refused(self) -> None:
        """The server has said that no job comes of the last whole body; of earlier ones it says nothing."""
        with self._lock:
            self._unanswered_count -= 1

    @property
    def may_exist(self) -> bool:
        """Whether a whole body was sent of which a job may come."""
        return self._unanswered_count > 0


class ArchiveSource(Protocol):
    """What an archive is read from, again for each try."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to another place."""
        ...

    def read(self, size_bytes: int = -1, /) -> bytes:
        """The next bytes."""
        ...


class RowOfDigests(Body):
    """SHA-256 digests behind one another."""

    def __init__(self, digests: Sequence[bytes]) -> None:
        self._row = b"".join(digests)
        self.size_bytes = len(self._row)

    def chunks(self) -> Iterator[bytes]:
        """The whole row."""
        yield self._row


class Upload(Body):
    """One archive under one job id; `chunks` may be called again for each try."""

    def __init__(
        self,
        *,
        job_id: str,
        archive: ArchiveSource,
        archive_bytes: int,
        options: bytes,
        state: SendingState,
        wants_kept: bool = False,
        progress: Callable[[int], None] = lambda _sent_bytes: None,
    ) -> None:
        self._archive = archive
        self._archive_bytes = archive_bytes
        self._state = state
        self._progress = progress
        self.sent_bytes = 0
        """Of the present try; 0 as long as nothing was taken."""
        boundary = uuid.uuid4().hex
        self._head = (
            (
                f"--{boundary}\r\n"
                'Content-Disposition: form-data; name="options"\r\n'
                "Content-Type: application/json\r\n\r\n"
            ).encode()
            + options
            + (
                f"\r\n--{boundary}\r\n"
                'Content-Disposition: form-data; name="file"; filename="project.zip"\r\n'
                "Content-Type: application/zip\r\n\r\n"
            ).encode()
        )
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.size_bytes = len(self._head) + archive_bytes + len(self._tail)
        self.headers: Mapping[str, str] = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Idempotency-Key": job_id,
            **({"Keep-Contents": "true"} if wants_kept else {}),
        }

    def chunks(self) -> Iterator[bytes]:
        self._archive.seek(0, os.SEEK_SET)
        self.sent_bytes = 0
        pending = self._head
        while chunk := self._read():
            self._state.check()
            yield pending
            self.sent_bytes += len(pending)
            self._progress(self.sent_bytes)
            pending = chunk
        self._state.release_end()
        yield pending + self._tail

    def _read(self) -> bytes:
        try:
            return self._archive.read(_CHUNK_BYTES)
        except OSError as error:  # which must not be taken for one of the connection
            import tempfile  # noqa: PLC0415 - loaded by now if there is a file

            raise InternalFault(
                f"can't read the archive in {tempfile.gettempdir()}: {cause_of(error)}; "
                "TMPDIR can name another folder"
            ) from error
