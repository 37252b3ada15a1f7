"""Where the client gets its settings from: flag, then environment, then the config file. Pure but `load`.

An empty variable counts as unset. Each value remembers its source, so that a message can name the one
to change.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ci_client import config_file
from ci_client.problems import BadUse, KeyRefused

DEFAULT_SERVER = "http://localhost:8000"
DEFAULT_RETRY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; None where it says nothing."""

    api_key: str | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a command needs to reach the server."""

    server: str
    """Without a slash at its end; may have a path."""
    server_source: str
    config_path: Path
    api_key: str | None = field(default=None, repr=False)
    api_key_source: str = ""
    ca_bundle: Path | None = None
    retry_seconds: float = DEFAULT_RETRY_SECONDS

    def required_key(self) -> str:
        """The key.

        Raises:
            KeyRefused: there is none.
        """
        if self.api_key is None:
            raise KeyRefused(
                "no API key: run `ci login`, set CI_API_KEY, give --api-key, or put "
                f"api_key=… into {self.config_path}; an administrator hands keys out"
            )
        return self.api_key


def load(flags: Flags, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process.

    Raises:
        BadUse: one of them makes no sense.
    """
    environ = os.environ if environ is None else environ
    path = config_path(environ)
    return resolve(flags, environ, config_file.read(path), path)


def config_path(environ: Mapping[str, str]) -> Path:
    """The config file's path, whether or not it exists."""
    named = environ.get("CI_CONFIG")
    return Path(named) if named else Path("~/.ci/config").expanduser()


def resolve(flags: Flags, environ: Mapping[str, str], config: Mapping[str, str], path: Path) -> Settings:
    """Decide between the sources.

    Raises:
        BadUse: a value makes no sense; the message names its source.
    """
    api_key, key_source = _first(
        ("--api-key", flags.api_key),
        ("CI_API_KEY", environ.get("CI_API_KEY")),
        (str(path), config.get("api_key")),
    )
    server, server_source = _first(
        ("--server", flags.server),
        ("CI_API_URL", environ.get("CI_API_URL")),
        ("CI_SERVER_URL", None if environ.get("GITLAB_CI") else environ.get("CI_SERVER_URL")),
        (str(path), config.get("server")),
        ("the default", DEFAULT_SERVER),
    )
    bundle, _ = _first(("CI_CA_BUNDLE", environ.get("CI_CA_BUNDLE")))
    assert server is not None, "there is a default"
    return Settings(
        server=_checked_server(server, server_source),
        server_source=server_source,
        config_path=path,
        api_key=None if api_key is None else _checked_key(api_key, key_source),
        api_key_source=key_source,
        ca_bundle=None if bundle is None else Path(bundle),
        retry_seconds=_seconds(environ.get("CI_RETRY_SECONDS")),
    )


def _first(*candidates: tuple[str, str | None]) -> tuple[str | None, str]:
    for source, value in candidates:
        if value is not None and value.strip():
            return value.strip(), source
    return None, ""


def _checked_key(key: str, source: str) -> str:
    if not key.isascii() or not key.isprintable() or " " in key:
        raise KeyRefused(f"the API key from {source} holds characters that no key has; copy it again")
    return key


def _checked_server(server: str, source: str) -> str:
    url = server if server.endswith("://") else server.rstrip("/")
    fault = _server_fault(url)
    if fault is not None:
        raise BadUse(f"the server address {_without_password(server)!r} from {source} {fault}")
    return url


def _without_password(url: str) -> str:
    """The address as it may stand in a log."""
    return re.sub(r"[^/@]*@", "***@", url)


def _server_fault(url: str) -> str | None:
    if "://" not in url:
        return f"has no scheme; did you mean http://{_without_password(url)} ?"
    try:
        parts = urlsplit(url)
        has_host, _ = bool(parts.hostname), parts.port
    except ValueError as error:
        return f"is no URL: {error}"
    faults = {
        "must begin with http:// or https://": parts.scheme not in {"http", "https"},
        "names no host": not has_host or any(character.isspace() for character in url),
        "must not hold a user name or password; the API key is all that is needed": "@" in parts.netloc,
        "must not hold a query or fragment": bool(parts.query or parts.fragment),
    }
    return next((fault for fault, found in faults.items() if found), None)


def _seconds(text: str | None) -> float:
    if not text:
        return DEFAULT_RETRY_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise BadUse(f"CI_RETRY_SECONDS is {text!r}; a number of seconds is expected")
    return seconds
