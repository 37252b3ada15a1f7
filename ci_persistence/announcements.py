"""Telling other processes of the machine that jobs have changed: datagrams to the sockets beside a
database.

A datagram is a hint and never carries state: whoever gets it reads the database. Sending never waits
and never fails, for what it tells of is committed already: a receiver whose queue is full will wake
anyway and sees that it was full; one that is dead has its socket removed; and each looks by itself
once a second (`change_feed`).
"""

import errno
import logging
import os
import socket
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path

from ci_common.ids import JobId
from ci_persistence.data_paths import wake_dir_of

EVERYTHING = b"*"
"""In place of job ids: look at all that you have open."""
_MAX_IDS = 100
"""Ids in one datagram; more of them are `EVERYTHING`."""
SOCKET_SUFFIX = ".sock"
_GONE = {errno.ENOENT, errno.ENOTDIR}
_DEAD = {errno.ECONNREFUSED}
_NOT_REMOVABLE = {errno.EACCES, errno.EPERM, errno.EISDIR}
_CAN_WAIT = {errno.EAGAIN, errno.ENOBUFS, errno.EACCES, errno.EPERM, errno.EMSGSIZE, errno.EPROTOTYPE}
"""Full, not ours to reach, or no datagram socket at all: the receiver's own look serves it."""

_log = logging.getLogger(__name__)


class Audience(StrEnum):
    """Who listens: the beginning of a socket's name."""

    SERVER = "server"
    CONTROLLER = "controller"


class Announcer:
    """Sends; used from the one thread that commits."""

    def __init__(self, db_path: Path) -> None:
        self._wake_dir = wake_dir_of(db_path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def close(self) -> None:
        """Nothing is sent any more."""
        self._socket.close()

    def announce(self, audience: Audience, job_ids: Collection[JobId]) -> None:
        """These jobs have changed."""
        text = "\n".join(job_ids).encode("ascii") if len(job_ids) <= _MAX_IDS else EVERYTHING
        self._send(audience, text)

    def announce_everything(self, audience: Audience) -> None:
        """More has changed than can be named."""
        self._send(audience, EVERYTHING)

    def _send(self, audience: Audience, text: bytes) -> None:
        try:
            directory = os.open(self._wake_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # nobody ever listened
        except OSError as error:
            _log.warning("nobody can be woken through %s: %s", self._wake_dir, error)
            return
        try:
            for name in socket_names(directory, audience):
                self._send_to(directory, name, text)
        except OSError as error:
            _log.warning("not everybody was woken through %s: %s", self._wake_dir, error)
        finally:
            os.close(directory)

    def _send_to(self, directory: int, name: str, text: bytes) -> None:
        try:
            self._socket.sendto(text, socket_address(directory, name))
        except OSError as error:
            if error.errno in _DEAD:
                remove_socket(directory, name)
            elif error.errno not in _GONE | _CAN_WAIT:
                raise


def socket_names(directory: int, audience: Audience) -> list[str]:
    """The sockets of this audience."""
    with os.scandir(f"/proc/self/fd/{directory}") as entries:
        return [
            entry.name
            for entry in entries
            if entry.name.startswith(audience) and entry.name.endswith(SOCKET_SUFFIX)
        ]


def socket_address(directory: int, name: str) -> str:
    """An address for `bind` and `sendto`, which take no path of more than 107 bytes."""
    return f"/proc/self/fd/{directory}/{name}"


def remove_socket(directory: int, name: str) -> None:
    """Its owner is dead; that somebody else was quicker, or that it isn't ours to remove, is no error."""
    try:
        os.unlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in _GONE | _NOT_REMOVABLE:
            raise
