"""Where the engine listens, from `DOCKER_HOST` and its companions, read as Docker's own client reads them.

Two kinds: a Unix socket, and TCP with or without TLS. `ssh://` isn't offered: it would need a program per
call. Both ways of talking to the engine (`engine_calls`, `engine_stream`) start from here.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from docker.tls import TLSConfig

from ci_common.errors import InvalidInput

DEFAULT_HOST = "unix:///var/run/docker.sock"
_PLAIN_PORT = 2375
_TLS_PORT = 2376


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """One engine. Exactly one of `socket_path` and `host` is set."""

    url: str
    """As people know it."""
    socket_path: str | None = None
    host: str | None = None
    port: int = 0
    certificates: Path | None = None
    """Folder with `ca.pem`, `cert.pem`, `key.pem`; None: no TLS."""
    verify: bool = True

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """From DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.

        Raises:
            InvalidInput: DOCKER_HOST names no kind of address that works here.
        """
        url = environ.get("DOCKER_HOST") or DEFAULT_HOST
        scheme, _, rest = url.partition("://")
        if scheme == "unix" and rest:
            return cls(url, socket_path=f"/{rest.lstrip('/')}")
        if scheme not in {"tcp", "http", "https"}:
            raise InvalidInput(f"DOCKER_HOST={url!r}: unix:///PATH or tcp://HOST:PORT is expected")
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInput(f"DOCKER_HOST={url!r}: {error}") from None
        if host is None:
            raise InvalidInput(f"DOCKER_HOST={url!r} names no host")
        verify = bool(environ.get("DOCKER_TLS_VERIFY"))
        folder = environ.get("DOCKER_CERT_PATH")
        secure = verify or scheme == "https" or bool(folder)
        certificates = Path(folder).expanduser() if folder else Path.home() / ".docker"
        return cls(
            url,
            host=host,
            port=port or (_TLS_PORT if secure else _PLAIN_PORT),
            certificates=certificates if secure else None,
            verify=verify,
        )

    @property
    def is_local(self) -> bool:
        """It is reached through a socket of this machine, so most likely runs on it."""
        return self.socket_path is not None

    def client_url(self) -> str:
        """The address as the SDK wants it."""
        if self.socket_path is not None:
            return f"http+unix://{self.socket_path}"
        scheme = "http" if self.certificates is None else "https"
        host = f"[{self.host}]" if self.host is not None and ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def client_tls(self) -> TLSConfig | bool:
        """The certificates as the SDK wants them."""
        if self.certificates is None:
            return False
        folder = self.certificates
        return TLSConfig(
            client_cert=(str(folder / "cert.pem"), str(folder / "key.pem")),
            ca_cert=str(folder / "ca.pem") if self.verify else None,
            verify=self.verify,
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """The certificates as asyncio wants them."""
        if self.certificates is None:
            return None
        folder = self.certificates
        context = ssl.create_default_context(cafile=str(folder / "ca.pem") if self.verify else None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return context
