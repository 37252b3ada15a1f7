"""A whole installation for tests: a data directory, a controller, servers, users, and their clients."""

import asyncio
import fcntl
import json
import os
import re
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import docker
import httpx

from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.e2e.conditions import eventually
from tests.e2e.engine import Engine
from tests.e2e.processes import Finished, Running, Service, clean_environ, command

_JOB_ID = re.compile(r"^Job ID: ([0-9a-f-]{36})$", re.MULTILINE)
_AUTHORITIES = ("CI_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
JOB_MEMORY = "512m"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a key."""

    id: str
    email: str
    key: str = field(repr=False)


class Client:
    """`ci` as one user has it, in a home of their own."""

    def __init__(self, home: Path, user: User, url: str) -> None:
        self.user = user
        self._home = home
        home.mkdir(parents=True, exist_ok=True)
        self.environ = clean_environ(HOME=str(home), CI_API_KEY=user.key, CI_API_URL=url)

    def start(self, *arguments: str, cwd: Path | None = None, **environ: str) -> Running:
        """`ci …`, not waited for."""
        return Running([command("ci"), *arguments], self.environ | environ, cwd or self._home)

    def run(
        self, *arguments: str, cwd: Path | None = None, patience_seconds: float = 120, **environ: str
    ) -> Finished:
        """`ci …` to its end."""
        done = self.start(*arguments, cwd=cwd, **environ).finish(patience_seconds)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def submit(self, project: Path, *pytest_args: str, flags: tuple[str, ...] = ()) -> "Submitted":
        """`ci submit test` to its end."""
        separated = ("--", *pytest_args) if pytest_args else ()
        done = self.run("submit", "test", *flags, *separated, cwd=project)
        return Submitted(job_id_in(done.stderr), done)

    def submit_async(self, project: Path, *pytest_args: str) -> str:
        """Id of a job that was submitted and not waited for."""
        separated = ("--", *pytest_args) if pytest_args else ()
        done = self.run("submit", "test", "--async", *separated, cwd=project)
        assert done.exit_code == 0, done
        match = re.fullmatch(rb"Job submitted: ([0-9a-f-]{36})\n", done.stdout)
        assert match is not None, done
        return match.group(1).decode()

    def get(self, path: str) -> httpx.Response:
        """The server's answer, without the command between."""
        headers = {"Authorization": f"Bearer {self.user.key}"}
        return httpx.get(f"{self.environ['CI_API_URL']}{path}", headers=headers, timeout=60, trust_env=False)

    def job(self, job_id: str) -> dict[str, object]:
        """The job, as `GET /jobs/{id}` has it."""
        answer = self.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found

    def log(self, job_id: str) -> bytes:
        """The tests' output, as `GET /jobs/{id}/logs` has it."""
        answer = self.get(f"/jobs/{job_id}/logs")
        assert answer.status_code == 200, answer.text
        return answer.content

    def jobs(self, limit: int = 100) -> list[dict[str, object]]:
        """The newest jobs, as `ci list --json` has them."""
        done = self.run("list", "--json", "--limit", str(limit))
        assert done.exit_code == 0, done
        found: list[dict[str, object]] = json.loads(done.stdout)
        return found

    def submit_into(self, stdout: BinaryIO, project: Path, *pytest_args: str) -> tuple[str, int]:
        """`ci submit test` with a stdout of the caller's; the job's id and the exit code."""
        done = subprocess.run(
            [command("ci"), "submit", "test", "--", *pytest_args],
            env=self.environ,
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
        )
        stderr = done.stderr.decode("utf-8", "replace")
        assert "Traceback" not in stderr, stderr
        return job_id_in(stderr), done.returncode

    def wait_until(self, job_id: str, status: str) -> dict[str, object]:
        """The job, once it has that status."""

        def look() -> dict[str, object] | None:
            found = self.job(job_id)
            return found if found["status"] == status else None

        return eventually(look, f"job {job_id} to be {status}")


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was submitted and followed to its end."""

    job_id: str
    done: Finished

    @property
    def stdout(self) -> bytes:
        """The tests' output."""
        return self.done.stdout

    @property
    def stderr(self) -> str:
        """All else."""
        return self.done.stderr

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return self.done.exit_code


def job_id_in(stderr: str) -> str:
    """The id that `ci submit test` has named."""
    match = _JOB_ID.search(stderr)
    assert match is not None, stderr
    return match.group(1)


class Installation:
    """One database and what works on it. Nothing of it outlives `close`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.prefix = f"ci-e2e-{uuid.uuid4().hex[:8]}-"
        self._settings = {"CI_JOB_MEMORY": JOB_MEMORY, **settings}
        self._servers: dict[str, Service] = {}
        self._controllers: list[Service] = []
        self._docker = docker.from_env()
        self._users = 0
        self.engine = Engine(self._docker, self._make_instance())

    def _make_instance(self) -> str:
        # Any command that opens an absent database makes it, and the installation's id with it.
        self.admin("user", "list")
        return asyncio.run(_instance_of(self.data_dir / "ci.db"))

    def environ(self, **more: str) -> dict[str, str]:
        """What the services and the administrator's commands see."""
        authorities = next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), None)
        passed_on = {} if authorities is None else {"CI_CA_BUNDLE": authorities}
        own = {"CI_DATA_DIR": str(self.data_dir), "CI_CONTAINER_PREFIX": self.prefix}
        return clean_environ(HOME=str(self.folder), **passed_on, **own, **self._settings) | more

    def admin(self, *arguments: str) -> str:
        """The stdout of an administrator's command that must succeed."""
        done = self.run_admin(*arguments)
        assert done.exit_code == 0, done
        return done.stdout.decode()

    def run_admin(self, *arguments: str) -> Finished:
        """An administrator's command."""
        done = subprocess.run(
            [command("ci-admin"), *arguments],
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
        stderr = done.stderr.decode("utf-8", "replace")
        assert "Traceback" not in stderr, stderr
        return Finished(done.returncode, done.stdout, stderr)

    def start_controller(self, **settings: str) -> Service:
        """A controller, with settings of its own where given."""
        log = self.folder / f"controller-{len(self._controllers)}.log"
        started = Service([command("ci-controller")], self.environ(**settings), log)
        self._controllers.append(started)
        return started

    def restart_controller(self, **settings: str) -> Service:
        """Stop the running ones in an orderly way and start another."""
        for service in self._controllers:
            if service.exit_code() is None:
                assert service.stop() == 0, service.read_log()
        return self.start_controller(**settings)

    def start_server(self, *, port: int | None = None) -> str:
        """The address of a new replica that is ready."""
        port = free_port() if port is None else port
        url = f"http://127.0.0.1:{port}"
        log = self.folder / f"server-{port}.log"
        service = Service([command("ci-server"), "--port", str(port)], self.environ(), log)
        self._servers[url] = service
        eventually(lambda: _is_ready(url, service), f"the server at {url}")
        return url

    @property
    def url(self) -> str:
        """The first replica's address."""
        return next(iter(self._servers))

    @property
    def urls(self) -> list[str]:
        """All replicas' addresses, oldest first."""
        return list(self._servers)

    @property
    def controller(self) -> Service:
        """The newest one."""
        return self._controllers[-1]

    def server(self, url: str) -> Service:
        """The replica at `url`."""
        return self._servers[url]

    def create_user(self, name: str) -> User:
        """A new user with a key."""
        self._users += 1
        email = f"{name}-{self._users}@example.com"
        created = self.admin("user", "create", "--name", name, "--email", email)
        match = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", created)
        assert match is not None, created
        printed = self.admin("key", "create", "--name", "e2e", "--email", email)
        key = re.search(r"^API Key: (ci_\S+)$", printed, re.MULTILINE)
        assert key is not None, printed
        return User(match.group(), email, key.group(1))

    def client(self, user: User, url: str | None = None) -> Client:
        """`ci` for `user`."""
        return Client(self.folder / "homes" / user.email, user, url or self.url)

    def new_client(self, name: str = "user") -> Client:
        """`ci` for somebody who has nothing yet, not even a cached environment."""
        return self.client(self.create_user(name))

    def has_no_containers(self) -> bool:
        """Whether the engine holds none of this installation."""
        return not self.engine.containers()

    def close(self) -> None:
        """End its processes and leave nothing in the engine.

        Raises:
            AssertionError: containers were left though their jobs had ended.
        """
        try:
            if any(service.exit_code() is None for service in self._controllers):
                eventually(self.has_no_containers, f"the containers of {self.prefix} to be removed")
            for service in [*self._servers.values(), *self._controllers]:
                if service.exit_code() is None:
                    service.stop()
        finally:
            for service in [*self._servers.values(), *self._controllers]:
                if service.exit_code() is None:
                    service.kill()
            # The rules that close the network lie outside of the engine: the platform itself takes them away.
            given_up = self.run_admin("gc", "--everything")
            self.engine.remove_everything()
            self._docker.close()
            assert given_up.exit_code == 0, given_up


async def _instance_of(db_path: Path) -> str:
    repository = SQLiteJobRepository(db_path)
    await repository.initialize()
    try:
        return await repository.instance_id()
    finally:
        await repository.close()


def _is_ready(url: str, service: Service) -> bool:
    assert service.exit_code() is None, service.read_log()
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port on which nobody listens at present."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def one_at_a_time(name: str) -> Generator[None]:
    """For what all test processes of this machine share."""
    with (Path(tempfile.gettempdir()) / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure_base_image(folder: Path, environ: Mapping[str, str]) -> None:
    """Build the default base image unless the engine has one; once on a machine."""
    with one_at_a_time("ci-e2e-base-image"):
        listed = subprocess.run(
            [command("ci-admin"), "image", "list", "--json"],
            env=dict(environ),
            cwd=folder,
            capture_output=True,
            check=True,
        )
        if not json.loads(listed.stdout):
            subprocess.run([command("ci-admin"), "image", "build"], env=dict(environ), cwd=folder, check=True)
