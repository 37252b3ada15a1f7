"""The SDK's client with a better way to the engine's socket.

The SDK's own keeps a pool of connections for each URL, so that a call hardly ever finds one that is open, and
leaves its socket to the garbage collector where nobody listens. Only `engine_calls` uses this.
"""

import socket
from collections.abc import Mapping

import requests.adapters
import urllib3
import urllib3.connection
from docker import APIClient
from docker.constants import MINIMUM_DOCKER_API_VERSION

from ci_controller.engine_address import EngineAddress

_CONNECTIONS_KEPT = 64


def make_client(address: EngineAddress) -> APIClient:
    """A client for the engine; connects when it is first used.

    Paths without a version mean the engine's own newest API, so that no version needs to be agreed on.
    """
    client = APIClient(
        base_url=address.client_url(),
        version=MINIMUM_DOCKER_API_VERSION,
        tls=address.client_tls(),
        max_pool_size=_CONNECTIONS_KEPT,
    )
    client.trust_env = False  # else each request reads .netrc and the proxy settings
    if address.socket_path is not None:
        client.mount("http+docker://", _SocketAdapter(address.socket_path))
    return client


class _SocketConnection(urllib3.connection.HTTPConnection):
    """To a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(self.timeout)
            connection.connect(self._path)
        except BaseException:
            connection.close()
            raise
        self.sock = connection


class _SocketPool(urllib3.HTTPConnectionPool):
    """Open connections to one Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", maxsize=_CONNECTIONS_KEPT)
        self._path = path

    # urllib3's own connections don't fit its protocol of them either.
    def _new_conn(self) -> _SocketConnection:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _SocketConnection(self._path)


class _SocketAdapter(requests.adapters.HTTPAdapter):
    """All requests go to one Unix socket, whatever their URL says."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._pool = _SocketPool(path)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> urllib3.HTTPConnectionPool:
        return self._pool

    def request_url(self, request: requests.PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        return request.path_url

    def close(self) -> None:
        self._pool.close()
        super().close()
