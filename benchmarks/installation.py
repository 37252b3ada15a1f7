"""A temporary installation for measurements: data directory, controller, server, one user with a key.

It uses the installed commands and nothing else of the platform. When the context ends, however it ends,
both processes are over and the engine holds nothing of the installation; base images stay, they are
shared. Nothing of the caller's own settings (`CI_…` variables, configuration files) gets in.
"""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BIN = Path(sys.executable).parent
_FOREIGN = ("CI_", "COV_", "GITHUB_", "GITLAB_", "PYTEST_", "XDG_")
_FOREIGN_NAMES = frozenset(
    {"CI", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "PYTHONPATH", "VIRTUAL_ENV"}
)
_AUTHORITIES = ("CI_CA_BUNDLE", "SSL_CERT_FILE")
_READY_SECONDS = 120.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Installation:
    """What a measurement may use of it."""

    folder: Path
    """Logs and data lie here."""
    client_environ: Mapping[str, str]
    """For `ci`: server, key, and a home of its own."""
    admin_environ: Mapping[str, str]
    """For `ci-admin`."""

    def ci(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
        """`ci …` to its end, its output captured."""
        return subprocess.run(
            [command("ci"), *arguments],
            env=dict(self.client_environ),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )


def command(name: str) -> str:
    """Path of a command that is installed beside this interpreter."""
    return str(_BIN / name)


def clean_environ(**more: str) -> dict[str, str]:
    """This process's environment without what would steer the platform or the tests, and with `more`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _FOREIGN_NAMES and not name.startswith(_FOREIGN)
    }
    return kept | more


@contextmanager
def temporary_installation(folder: Path, **settings: str) -> Generator[Installation]:
    """Start one in `folder`, which is empty; `settings` are `CI_…` variables of controller and server.

    Raises:
        RuntimeError: it didn't come up, or its own commands failed.
    """
    services = clean_environ(HOME=str(folder), CI_DATA_DIR=str(folder / "data"), **_authorities()) | settings
    address = f"http://127.0.0.1:{_free_port()}"
    client = clean_environ(HOME=str(folder / "home"), CI_API_URL=address, NO_PROXY="127.0.0.1")
    (folder / "home").mkdir()
    try:
        client["CI_API_KEY"] = _new_key(services)
        with (
            _service([command("ci-controller")], services, folder / "controller.log") as controller,
            _service(
                [command("ci-server"), "--port", address.rpartition(":")[2]], services, folder / "server.log"
            ) as server,
        ):
            _wait_until_ready(address, controller, server)
            yield Installation(folder, client, services)
    finally:
        _admin(services, "gc", "--everything")


def _authorities() -> dict[str, str]:
    found = next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), None)
    return {} if found is None else {"CI_CA_BUNDLE": found}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _new_key(environ: Mapping[str, str]) -> str:
    email = "benchmark@example.com"
    _admin(environ, "user", "create", "--name", "Benchmark", "--email", email)
    printed = _admin(environ, "key", "create", "--name", "benchmark", "--email", email)
    key = re.search(r"^API Key: (ci_\S+)$", printed, re.MULTILINE)
    if key is None:
        raise RuntimeError(f"ci-admin key create printed no key: {printed}")
    return key.group(1)


def _admin(environ: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [command("ci-admin"), *arguments], env=dict(environ), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"ci-admin {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class _Service:
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def _service(argv: Sequence[str], environ: Mapping[str, str], log: Path) -> Generator[_Service]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _Service(process, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(address: str, *services: _Service) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _is_ready(address):
        for service in services:
            if service.process.poll() is not None:
                raise RuntimeError(
                    f"{service.log.name} ends: {service.log.read_text(errors='replace')[-4000:]}"
                )
        if time.monotonic() > deadline:
            raise RuntimeError(f"{address} was not ready in {_READY_SECONDS:.0f} s")
        time.sleep(_LOOK_SECONDS)


def _is_ready(address: str) -> bool:
    try:
        with _NO_PROXY.open(f"{address}/readyz", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
