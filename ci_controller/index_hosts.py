"""Which package indexes an administrator's pip configuration names: jobs must reach them wherever they are.

Pure. An index on a private address would be cut off with all other private addresses.
"""

import configparser
from urllib.parse import urlsplit

from ci_common.errors import InvalidInput

_OPTIONS = frozenset({"index-url", "extra-index-url", "find-links", "proxy"})
_PORTS = {"http": 80, "https": 443}


def index_hosts(pip_conf: str) -> frozenset[tuple[str, int]]:
    """Host and port of each index, page of links and proxy in the text of a pip.conf.

    Raises:
        InvalidInput: this is no pip.conf.
    """
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(pip_conf)
    except configparser.Error as error:
        raise InvalidInput(f"CI_PIP_CONF can't be read: {' '.join(str(error).split())}") from None
    urls = [
        url
        for section in parser.sections()
        for name, value in parser.items(section)
        if name.replace("_", "-") in _OPTIONS
        for url in value.split()
    ]
    return frozenset(found for url in urls if (found := _host_and_port(url)) is not None)


def _host_and_port(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return None if host is None or port is None else (host, port)
