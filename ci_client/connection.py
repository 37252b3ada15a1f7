"""How the server is reached: trust, proxies, time limits; and what failures of the network are called.

The only module, with `client` and `uploading`, that knows which HTTP library is used.
"""

import socket
import ssl
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx
import truststore

from ci_client.problems import BadUse, Transient, Unreachable, cause_of
from ci_client.settings import Settings

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
SILENCE_SECONDS = 45.0
"""The server sends a comment every 15 s; a stream that is silent for so long is dead."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def open_client(settings: Settings, key: str | None) -> httpx.Client:
    """A client with its own connections; may be used by several threads.

    Raises:
        BadUse: certificates or proxies can't be used as they are set.
    """
    headers = {"User-Agent": "ci-client", "Accept-Encoding": "identity"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    # A server on this machine is never behind a proxy, whatever the variables say.
    trust_environment = urlsplit(settings.server).hostname not in _LOOPBACK
    try:
        return httpx.Client(
            headers=headers,
            verify=_trust(settings, uses_proxies=trust_environment),
            trust_env=trust_environment,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS, pool=None),
        )
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise BadUse(
            f"the proxy settings (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) can't be used: {error}"
        ) from error


def _trust(settings: Settings, *, uses_proxies: bool) -> ssl.SSLContext:
    proxies = urllib.request.getproxies().values() if uses_proxies else ()
    if not any(url.startswith("https:") for url in (settings.server, *proxies)):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; loading certificates takes time
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=settings.ca_bundle)
        except ssl.SSLError:
            raise BadUse(f"CI_CA_BUNDLE: {settings.ca_bundle} holds no certificate in PEM form") from None
        except OSError as error:
            raise BadUse(f"CI_CA_BUNDLE: can't read {settings.ca_bundle}: {cause_of(error)}") from error
    return context


@contextmanager
def named_failures(settings: Settings) -> Generator[None]:
    """Turns the library's exceptions into ours.

    Raises:
        Transient: no connection, or one that broke.
        Unreachable: a fault that stays.
    """
    server = settings.server
    try:
        yield
    except httpx.ConnectTimeout:
        raise Transient(f"{server} doesn't answer; check CI_API_URL or --server, and the network") from None
    except httpx.ProxyError as error:
        raise Transient(
            f"the proxy on the way to {server} refused: {error}; check HTTP(S)_PROXY and NO_PROXY"
        ) from error
    except httpx.ConnectError as error:
        raise _no_connection(settings, error) from error
    except httpx.ReadTimeout:
        raise Transient(f"{server} has been silent for too long") from None
    except httpx.WriteTimeout:
        raise Transient(f"{server} has stopped taking what is sent") from None
    except httpx.TransportError as error:
        raise Transient(f"the connection to {server} broke: {_root_cause(error)}") from error
    except (httpx.InvalidURL, httpx.RequestError) as error:
        raise Unreachable(f"{server} answered something that isn't HTTP: {error}") from error


def _no_connection(settings: Settings, error: httpx.TransportError) -> Unreachable:
    server, source = settings.server, settings.server_source
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unreachable(
                f"the certificate of {server} isn't trusted: {cause.verify_message}; "
                "CI_CA_BUNDLE can name your authority's certificate"
            )
        if isinstance(cause, ssl.SSLError):
            return Unreachable(
                f"{server} doesn't speak TLS as expected: {cause.reason or cause}; http instead of https?"
            )
        if isinstance(cause, socket.gaierror):
            return Transient(
                f"no such host: {urlsplit(server).hostname} (from {source}); check the server's address"
            )
        cause = cause.__cause__ or cause.__context__
    return Transient(f"can't reach {server} (from {source}): {_root_cause(error)}; is the server running?")


def _root_cause(error: BaseException) -> str:
    cause: BaseException = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    if isinstance(cause, OSError):
        return cause_of(cause)
    return str(cause) or type(cause).__name__
