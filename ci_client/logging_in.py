"""`ci login`: ask for server and key, try them, and only then write them down."""

import getpass
import os
import sys
from urllib.parse import urlsplit

import click

from ci_client import config_file
from ci_client.client import ServerClient
from ci_client.problems import ClientError, KeyRefused
from ci_client.retrying import FIRST_CONTACT_SECONDS, Patience, persistently
from ci_client.settings import DEFAULT_SERVER, Flags, Settings, config_path, load, resolve
from ci_client.terminal import Console


def login(flags: Flags, console: Console) -> int:
    """`ci login`; the exit code.

    Raises:
        ClientError: server or key don't work; nothing was written.
    """
    path = config_path(os.environ)
    server = flags.server or _asked_server(_present_server())
    key = flags.api_key or _asked_key()
    if not key:
        raise KeyRefused("no API key was given; an administrator hands keys out (ci-admin key create)")
    settings = resolve(Flags(api_key=key, server=server), os.environ, {}, path)
    client = ServerClient(settings, settings.required_key())
    account = persistently(client.me, Patience(FIRST_CONTACT_SECONDS, console.note))
    config_file.write(settings.config_path, {"api_key": settings.required_key(), "server": settings.server})
    console.answer(f"Logged in as {account.user_name} <{account.email}>; written to {settings.config_path}")
    _tell_what_overrides(settings, console)
    return 0


def _present_server() -> str:
    """What to propose; settings that make no sense are what this command is there to replace."""
    try:
        return load(Flags()).server
    except ClientError:
        return DEFAULT_SERVER


def _asked_server(proposed: str) -> str:
    if not sys.stdin.isatty():
        return proposed
    return click.prompt("Server", default=proposed, err=True, type=str)


def _asked_key() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    return getpass.getpass("API key (not shown): ").strip()


def _tell_what_overrides(settings: Settings, console: Console) -> None:
    """A variable goes before the file: whoever forgets that wonders for long."""
    for name in ("CI_API_KEY", "CI_API_URL", "CI_SERVER_URL"):
        value = os.environ.get(name)
        if name == "CI_SERVER_URL" and os.environ.get("GITLAB_CI"):
            continue
        if value and value.strip().rstrip("/") not in {settings.api_key, settings.server}:
            console.note(f"{name} is set to something else and goes before the file; unset it")
    if settings.server.startswith("http:") and urlsplit(settings.server).hostname != "localhost":
        console.note("the server is reached without TLS: whoever listens on the way can read the key")
