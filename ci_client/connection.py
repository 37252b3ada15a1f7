"""Which way leads to the server: straight, or through proxies; and whom is trusted on it.

What takes long to import is imported where it is needed: TLS for https, the library that knows proxies
where one is set.
"""

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ci_client.direct import DirectTransport
from ci_client.problems import BadUse, cause_of
from ci_client.settings import Settings
from ci_client.transport import Transport

if TYPE_CHECKING:
    import ssl

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def open_transport(settings: Settings, key: str | None) -> Transport:
    """The way to the server, with its own connections.

    Raises:
        BadUse: certificates or proxies can't be used as they are set.
    """
    headers = {"User-Agent": "ci-client", "Accept": "*/*", "Accept-Encoding": "identity"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    # A server on this machine is never behind a proxy, whatever the variables say.
    if urlsplit(settings.server).hostname not in _LOOPBACK and _proxies():
        from ci_client.proxied import ProxiedTransport  # noqa: PLC0415 - a large import

        return ProxiedTransport(settings, headers, _trust(settings))
    tls = _trust(settings) if settings.server.startswith("https:") else None
    return DirectTransport(settings, headers, tls)


def _proxies() -> Mapping[str, str]:
    """What the system says of proxies."""
    kept_elsewhere = sys.platform in {"win32", "darwin"}
    if not kept_elsewhere and not any(name.lower().endswith("_proxy") for name in os.environ):
        return {}
    import urllib.request  # noqa: PLC0415 - a large import

    return {scheme: url for scheme, url in urllib.request.getproxies().items() if scheme != "no"}


def _trust(settings: Settings) -> "ssl.SSLContext":
    import ssl  # noqa: PLC0415 - its import takes time, and plain HTTP doesn't need it

    import truststore  # noqa: PLC0415 - as above

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.ca_bundle is not None:
        try:
            context.load_verify_locations(cafile=settings.ca_bundle)
        except ssl.SSLError:
            raise BadUse(f"CI_CA_BUNDLE: {settings.ca_bundle} holds no certificate in PEM form") from None
        except OSError as error:
            raise BadUse(f"CI_CA_BUNDLE: can't read {settings.ca_bundle}: {cause_of(error)}") from error
    return context
