"""The receiving end of `announcements`: one datagram socket of one process, beside the database.

Invariants: what was announced is received, or it shows that something may have been lost; the socket
goes away with `close`, and one whose process died is removed by whoever notices first.
"""

import errno
import os
import secrets
import socket
from pathlib import Path
from typing import Self

from ci_common.ids import JobId
from ci_persistence.announcements import (
    EVERYTHING,
    SOCKET_SUFFIX,
    Audience,
    remove_socket,
    socket_address,
    socket_names,
)
from ci_persistence.shared_files import FILE_MODE, make_folder
from ci_persistence.subscription import Wake

_MAX_DATAGRAM_BYTES = 8192
_QUEUE_LENGTH_FILE = Path("/proc/sys/net/unix/max_dgram_qlen")


class WakeSocket:
    """Bound and never blocking; made by `WakeSocket.open`."""

    def __init__(self, directory: int, name: str, bound: socket.socket) -> None:
        self._directory = directory
        self._name = name
        self._socket = bound
        self._queue_length = int(_QUEUE_LENGTH_FILE.read_text("ascii"))

    @classmethod
    def open(cls, wake_dir: Path, audience: Audience) -> Self:
        """A new one, after those of dead processes have been removed."""
        make_folder(wake_dir)
        directory = os.open(wake_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            _remove_dead(directory)
            name = f"{audience}-{os.getpid()}-{secrets.token_hex(4)}{SOCKET_SUFFIX}"
            bound.bind(socket_address(directory, name))
            Path(socket_address(directory, name)).chmod(FILE_MODE)
        except BaseException:
            bound.close()
            os.close(directory)
            raise
        return cls(directory, name, bound)

    def fileno(self) -> int:
        """For an event loop to watch."""
        return self._socket.fileno()

    def receive(self) -> Wake:
        """All that has come."""
        job_ids: set[JobId] = set()
        count = 0
        everything = False
        while (datagram := self._next()) is not None:
            count += 1
            if datagram == EVERYTHING:
                everything = True
            else:
                job_ids.update(JobId(text) for text in datagram.decode("ascii", "replace").split("\n"))
        # A queue that was full turned others away, and all that it held came in this one go.
        return Wake(frozenset(job_ids), everything or count >= self._queue_length)

    def close(self) -> None:
        """Nobody sends here any more."""
        remove_socket(self._directory, self._name)
        self._socket.close()
        os.close(self._directory)

    def _next(self) -> bytes | None:
        try:
            return self._socket.recv(_MAX_DATAGRAM_BYTES)
        except BlockingIOError:
            return None


def _remove_dead(directory: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as probe:
        for audience in Audience:
            for name in socket_names(directory, audience):
                if probe.connect_ex(socket_address(directory, name)) == errno.ECONNREFUSED:
                    remove_socket(directory, name)
