"""What the client needs of HTTP: one exchange at a time, over whichever way leads to the server.

Two ways exist: `direct` speaks HTTP itself over a socket, `proxied` asks a large library, which knows
proxies of every kind. The first is there because a command must answer at once: importing the library
takes longer than all else that a command does. Both name their failures by the functions below.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ci_client.problems import Transient, Unreachable
from ci_client.settings import Settings

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
SILENCE_SECONDS = 45.0
"""The server sends a comment every 15 s; a stream that is silent for so long is dead."""


class Body(ABC):
    """What is sent: of known size, and able to begin again for another try."""

    size_bytes: int

    @abstractmethod
    def chunks(self) -> Iterator[bytes]:
        """The bytes from the first on.

        Raises:
            Stopped: the user has interrupted it.
            InternalFault: the bytes can't be read here.
        """


@dataclass(frozen=True, slots=True)
class Request:
    """One question."""

    method: str
    path: str
    """Behind the server's address, with a slash at its beginning, escaped; a query may follow."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Body | None = None
    silence_seconds: float = ANSWER_SECONDS
    """How long the server may be silent, before its answer and in the middle of it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    pieces: Iterator[bytes]
    """The body as it comes.

    Raises (while iterating):
        Transient: it broke off, or the server fell silent.
    """


class Transport(ABC):
    """One server, one key; may be used by several threads."""

    @abstractmethod
    def exchange(self, request: Request) -> AbstractContextManager[Reply]:
        """Ask; the reply's body must be read inside the context, or is given up.

        Raises:
            Transient: no connection, or one that broke.
            Unreachable: a fault that stays.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connections that wait for use."""


def no_answer(settings: Settings) -> Transient:
    """Connecting took too long."""
    return Transient(f"{settings.server} doesn't answer; check CI_API_URL or --server, and the network")


def fell_silent(settings: Settings) -> Transient:
    """An answer, or its rest, didn't come in time."""
    return Transient(f"{settings.server} has been silent for too long")


def takes_no_more(settings: Settings) -> Transient:
    """What is sent isn't read any more."""
    return Transient(f"{settings.server} has stopped taking what is sent")


def broke(settings: Settings, cause: str) -> Transient:
    """The connection was there, and is gone."""
    return Transient(f"the connection to {settings.server} broke: {cause}")


def not_http(settings: Settings, cause: str) -> Unreachable:
    """Whoever answers there isn't a web server."""
    return Unreachable(f"{settings.server} answered something that isn't HTTP: {cause}")


def cant_connect(settings: Settings, cause: str) -> Transient:
    """Nobody listens there, or the network doesn't lead there."""
    where = f"{settings.server} (from {settings.server_source})"
    return Transient(f"can't reach {where}: {cause}; is the server running?")


def no_such_host(settings: Settings, host: str) -> Transient:
    """The name in the server's address leads nowhere."""
    return Transient(f"no such host: {host} (from {settings.server_source}); check the server's address")


def not_trusted(settings: Settings, cause: str) -> Unreachable:
    """The certificate is nobody's whom this machine knows."""
    return Unreachable(
        f"the certificate of {settings.server} isn't trusted: {cause}; "
        "CI_CA_BUNDLE can name your authority's certificate"
    )


def no_tls(settings: Settings, cause: str) -> Unreachable:
    """TLS was tried in vain."""
    return Unreachable(f"{settings.server} doesn't speak TLS as expected: {cause}; http instead of https?")
