"""A load balancer in miniature: one address; the first of the replicas behind it that answers serves."""

import socket
import threading
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

_BLOCK_BYTES = 65536


class Balancer:
    """Forwards connections until it is closed."""

    def __init__(self, replicas: Sequence[str], *, hold_after_bytes: int | None = None) -> None:
        """With `hold_after_bytes`, a request that is longer than that gets stuck there until `release`."""
        self._addresses = [(split.hostname or "", split.port or 0) for split in map(urlsplit, replicas)]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._hold_after_bytes = hold_after_bytes
        self._free = threading.Event()
        self.held = threading.Event()
        """A request has got stuck."""
        self.accepted = 0
        """Connections that clients have made so far."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where clients connect."""
        port: int = self._listener.getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def release(self) -> None:
        """Nothing gets stuck any more."""
        self._free.set()

    def cut(self) -> None:
        """End all connections at once, as a network does."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            _shut(each)

    def close(self) -> None:
        """No more connections."""
        self.release()
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        far = self._connect()
        if far is None:
            near.close()
            return
        with self._lock:
            self._sockets |= {near, far}
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far, self._before_block)
        back.join()
        with self._lock:
            self._sockets -= {near, far}
        near.close()
        far.close()

    def _before_block(self, copied_bytes: int) -> None:
        if self._hold_after_bytes is not None and copied_bytes > self._hold_after_bytes:
            self.held.set()
            self._free.wait()

    def _connect(self) -> socket.socket | None:
        for address in self._addresses:
            try:
                return socket.create_connection(address)
            except OSError:
                continue
        return None


def _copy(source: socket.socket, target: socket.socket, before: Callable[[int], None] | None = None) -> None:
    copied_bytes = 0
    try:
        while block := source.recv(_BLOCK_BYTES):
            copied_bytes += len(block)
            if before is not None:
                before(copied_bytes)
            target.sendall(block)
    except OSError:
        # One side was cut: so is the other.
        _shut(source)
    _shut(target)


def _shut(given: socket.socket) -> None:
    try:
        given.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
