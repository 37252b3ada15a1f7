"""A temporary installation for measurements: data directory, controller, server, one user with a key.

It uses the installed commands and nothing else of the platform. When the context ends, however it ends,
both processes are over and the engine holds nothing of the installation; base images stay, they are
shared. Nothing of the caller's own settings (`CI_…` variables, configuration files) gets in, nor what
would keep Python from storing the bytecode that it compiles: users have it stored.
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

_BIN = Path(sys.executable).parent
_FOREIGN = ("CI_", "COV_", "GITHUB_", "GITLAB_", "PYTEST_", "XDG_")
_FOREIGN_NAMES = frozenset(
    {
        "CI",
        "COLUMNS",
        "FORCE_COLOR",
        "NO_COLOR",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "PY_COLORS",
        "VIRTUAL_ENV",
    }
)
_AUTHORITIES = ("CI_CA_BUNDLE", "SSL_CERT_FILE")
_READY_SECONDS = 120.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.05
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Services:
    """Controller and server of an installation, which run until the context of `running` ends."""

    def __init__(self, folder: Path, environ: Mapping[str, str], address: str) -> None:
        self._folder = folder
        self._environ = environ
        self._address = address
        self._present: tuple[Service, Service] | None = None

    @contextmanager
    def running(self) -> Generator[None]:
        """Start both, and stop both.

        Raises:
            RuntimeError: they didn't come up.
        """
        port = self._address.rpartition(":")[2]
        with (
            service([command("ci-controller")], self._environ, self._folder / "controller.log") as controller,
            service(
                [command("ci-server"), "--port", port], self._environ, self._folder / "server.log"
            ) as server,
        ):
            _wait_until_ready(self._address, controller, server)
            self._present = controller, server
            try:
                yield
            finally:
                self._present = None

    @property
    def controller_pid(self) -> int:
        """Of the controller's process."""
        assert self._present is not None, "asked for while they run"
        return self._present[0].process.pid

    @property
    def server_pid(self) -> int:
        """Of the server's process."""
        assert self._present is not None, "asked for while they run"
        return self._present[1].process.pid


@dataclass(frozen=True, slots=True)
class Installation:
    """What a measurement may use of it."""

    folder: Path
    """Logs and data lie here."""
    client_environ: Mapping[str, str]
    """For `ci`: server, key, and a home of its own."""
    admin_environ: Mapping[str, str]
    """For `ci-admin`."""
    services: Services
    """What runs."""

    @property
    def address(self) -> str:
        """The server's URL."""
        return self.client_environ["CI_API_URL"]

    @property
    def key(self) -> str:
        """The user's."""
        return self.client_environ["CI_API_KEY"]

    @property
    def database(self) -> Path:
        """SQLite's file."""
        return self.folder / "data" / "ci.db"

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

    def as_new_user(self, name: str) -> "Installation":
        """The same, used by somebody for whom nothing is cached yet."""
        key = _new_key(self.admin_environ, name)
        return replace(self, client_environ={**self.client_environ, "CI_API_KEY": key})


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
    environ = clean_environ(HOME=str(folder), CI_DATA_DIR=str(folder / "data"), **authorities()) | settings
    address = f"http://127.0.0.1:{free_port()}"
    client = clean_environ(HOME=str(folder / "home"), CI_API_URL=address, NO_PROXY="127.0.0.1")
    (folder / "home").mkdir()
    services = Services(folder, environ, address)
    with ExitStack() as stack:
        stack.callback(_admin, environ, "gc", "--everything")
        client["CI_API_KEY"] = _new_key(environ, "benchmark")
        stack.enter_context(services.running())
        yield Installation(folder, client, environ, services)


def authorities() -> dict[str, str]:
    """The setting that lets containers reach the package index as this host does."""
    found = next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), None)
    return {} if found is None else {"CI_CA_BUNDLE": found}


def free_port() -> int:
    """A port of loopback that nobody listens on at present."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _new_key(environ: Mapping[str, str], name: str) -> str:
    email = f"{name}@example.com"
    _admin(environ, "user", "create", "--name", name, "--email", email)
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
class Service:
    """A process that runs beside a measurement."""

    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def service(
    argv: Sequence[str], environ: Mapping[str, str], log: Path, cwd: Path | None = None
) -> Generator[Service]:
    """Let a process run until the context ends; what it prints goes to `log`."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            argv,
            env=dict(environ),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Service(process, log)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(address: str, *services: Service) -> None:
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
