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
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ci_common.ids import JobId
from ci_persistence.data_paths import wake_dir_of

EVERYTHING = b"*"
"""In place of job ids: look at all that you have open."""
_MAX_IDS = 100
"""Ids in one datagram; more of them are `EVERYTHING`."""
SOCKET_SUFFIX = ".sock"
_SETTLING_NANOSECONDS = 1_000_000_000
"""Two changes of a folder within one tick of the kernel's clock bear the same time."""
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


@dataclass(frozen=True, slots=True)
class _Listing:
    """The sockets of a folder as they were seen; `directory` is open, for `socket_address`."""

    directory: int
    state: tuple[int, int, int]
    names: dict[Audience, list[str]]
    is_settled: bool
    """Whether any later change of the folder shows in its `state`."""


class Announcer:
    """Sends; used from the one thread that commits.

    Listing the folder costs four times as much as the sending itself: it is done again only when the
    folder has changed.
    """

    def __init__(self, db_path: Path) -> None:
        self._wake_dir = wake_dir_of(db_path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._listing: _Listing | None = None

    def close(self) -> None:
        """Nothing is sent any more."""
        self._socket.close()
        self._forget()

    def announce(self, audience: Audience, job_ids: Collection[JobId]) -> None:
        """These jobs have changed."""
        text = "\n".join(job_ids).encode("ascii") if len(job_ids) <= _MAX_IDS else EVERYTHING
        self._send(audience, text)

    def announce_everything(self, audience: Audience) -> None:
        """More has changed than can be named."""
        self._send(audience, EVERYTHING)

    def _send(self, audience: Audience, text: bytes) -> None:
        try:
            listing = self._present_listing()
            for name in listing.names[audience]:
                self._send_to(listing.directory, name, text)
        except FileNotFoundError:
            self._forget()  # nobody ever listened
        except OSError as error:
            self._forget()
            _log.warning("not everybody was woken through %s: %s", self._wake_dir, error)

    def _send_to(self, directory: int, name: str, text: bytes) -> None:
        try:
            self._socket.sendto(text, socket_address(directory, name))
        except OSError as error:
            if error.errno in _DEAD:
                remove_socket(directory, name)
            elif error.errno not in _GONE | _CAN_WAIT:
                raise

    def _present_listing(self) -> _Listing:
        state = _state_of(self._wake_dir)
        if self._listing is None or not self._listing.is_settled or self._listing.state != state:
            self._forget()
            self._listing = _list(self._wake_dir)
        return self._listing

    def _forget(self) -> None:
        if self._listing is not None:
            os.close(self._listing.directory)
            self._listing = None


def _list(wake_dir: Path) -> _Listing:
    directory = os.open(wake_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Looked at before the names are read: what comes between makes another state.
        state = _state_of(f"/proc/self/fd/{directory}")
        is_settled = time.time_ns() - state[-1] > _SETTLING_NANOSECONDS
        names = {audience: socket_names(directory, audience) for audience in Audience}
    except BaseException:
        os.close(directory)
        raise
    return _Listing(directory, state, names, is_settled)


def _state_of(folder: Path | str) -> tuple[int, int, int]:
    status = os.stat(folder)  # noqa: PTH116 - on the way of every line: a third of what Path takes
    return status.st_dev, status.st_ino, status.st_mtime_ns


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
