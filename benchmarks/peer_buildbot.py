"""A temporary Buildbot: a master with SQLite and one worker, from the package index, on loopback alone."""

import json
import os
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from benchmarks.installation import Service, clean_environ, command, free_port, service

_PACKAGES = ("buildbot", "buildbot-worker", "buildbot-www", "setuptools<81")
_CONFIGURATION = Path(__file__).with_name("buildbot_master.cfg")
_READY_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_CALL_SECONDS = 120.0
_DIFF = "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+1\n"
_SUCCESS = 0
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class _Found(TypedDict):
    """Of the objects that its REST interface lists, what is used; each kind has some of it."""

    name: str
    builderid: int
    buildid: int
    stepid: int
    logid: int
    complete: bool
    results: int
    connected_to: list[dict[str, int]]


@dataclass(frozen=True, slots=True)
class Buildbot:
    """One that runs."""

    version: str
    pids: tuple[int, int]
    """Of master and worker."""
    _folder: Path
    _environ: Mapping[str, str]
    _password: str
    _http_port: int
    _try_port: int
    _builders: Mapping[str, int]

    def build(self, builder: str) -> None:
        """One build through the REST interface, to its end."""
        self.wait(self.request(builder))

    def request(self, builder: str) -> int:
        """Ask for a build; the request's number."""
        number = self._builders[builder]
        parameters = {"builderid": number, "owner": "benchmark"}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "force", "params": parameters}
        url = f"{self._rest}/forceschedulers/force"
        answer: dict[str, tuple[int, dict[str, int]]] = json.loads(_bytes(url, json.dumps(asked).encode()))
        return answer["result"][1][str(number)]

    def wait(self, request: int) -> None:
        """Return when the build of a request has ended well."""
        while not (found := self._one("buildrequests", f"/buildrequests/{request}"))["complete"]:
            time.sleep(_LOOK_SECONDS)
        if found["results"] != _SUCCESS:
            raise RuntimeError(f"Buildbot's build request {request} ended with {found['results']}")

    def log_of(self, request: int) -> bytes:
        """What the build's command printed."""
        build = self._one("builds", f"/buildrequests/{request}/builds")["buildid"]
        steps = _listing(f"{self._rest}/builds/{build}/steps")["steps"]
        step = next(step["stepid"] for step in steps if step["name"] == "run")
        log = self._one("logs", f"/steps/{step}/logs")["logid"]
        return _bytes(f"{self._rest}/logs/{log}/raw")

    def try_command(self, builder: str) -> tuple[list[str], dict[str, str]]:
        """`buildbot try --wait`, and its environment."""
        diff = self._folder / "change.diff"
        diff.write_text(_DIFF)
        connection = ("--connect=pb", f"--master=127.0.0.1:{self._try_port}", "--username=user")
        # Without a repository the master fails and the client waits for ever.
        change = ("--vc=none", f"--diff={diff}", "--patchlevel=1", "--repository=none", "--who=benchmark")
        program = str(self._folder / "venv" / "bin" / "buildbot")
        argv = [program, "try", *connection, f"--passwd={self._password}", *change]
        return [*argv, f"--builder={builder}", "--wait"], dict(self._environ)

    @property
    def _rest(self) -> str:
        return f"http://127.0.0.1:{self._http_port}/api/v2"

    def _one(self, kind: str, path: str) -> _Found:
        return _listing(self._rest + path)[kind][0]


@contextmanager
def temporary_buildbot(folder: Path, commands: Mapping[str, Sequence[str]]) -> Generator[Buildbot]:
    """Install and start one whose builders run `commands`.

    Raises:
        RuntimeError: it can't be installed, or didn't come up.
    """
    version = _install(folder / "venv")
    http_port, worker_port, try_port, password = free_port(), free_port(), free_port(), secrets.token_hex(8)
    given = {
        "http_port": http_port,
        "worker_port": worker_port,
        "try_port": try_port,
        "password": password,
        "commands": commands,
    }
    programs = folder / "venv" / "bin"
    environ = clean_environ(
        BENCHMARK_PEER=json.dumps(given), HOME=str(folder), PATH=f"{programs}:{os.environ['PATH']}"
    )
    _run([str(programs / "buildbot"), "create-master", "--no-logrotate", "master"], environ, folder)
    shutil.copyfile(_CONFIGURATION, folder / "master" / "master.cfg")
    create = ("create-worker", "--no-logrotate", "worker", f"127.0.0.1:{worker_port}", "worker", password)
    _run([str(programs / "buildbot-worker"), *create], environ, folder)
    master_argv = [str(programs / "buildbot"), "start", "--nodaemon", "master"]
    worker_argv = [str(programs / "buildbot-worker"), "start", "--nodaemon", "worker"]
    rest = f"http://127.0.0.1:{http_port}/api/v2"
    with service(master_argv, environ, folder / "master.log", folder) as master:
        _wait_until(lambda: _lists_workers(rest), master)
        with service(worker_argv, environ, folder / "worker.log", folder) as worker:
            _wait_until(lambda: _has_worker(rest), master, worker)
            listed = _listing(f"{rest}/builders")["builders"]
            builders = {found["name"]: found["builderid"] for found in listed}
            pids = master.process.pid, worker.process.pid
            yield Buildbot(version, pids, folder, environ, password, http_port, try_port, builders)


def _install(venv: Path) -> str:
    uv = command("uv")
    _run([uv, "venv", "--quiet", str(venv)], clean_environ(), venv.parent)
    python = str(venv / "bin" / "python")
    _run([uv, "pip", "install", "--quiet", "--python", python, *_PACKAGES], clean_environ(), venv.parent)
    _run([python, "-m", "compileall", "-q", str(venv / "lib")], clean_environ(), venv.parent)
    said = _run([str(venv / "bin" / "buildbot"), "--version"], clean_environ(), venv.parent)
    return said.splitlines()[0]


def _run(argv: Sequence[str], environ: Mapping[str, str], cwd: Path) -> str:
    done = subprocess.run(argv, env=dict(environ), cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _wait_until(condition: Callable[[], bool], *services: Service) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not condition():
        for present in services:
            if present.process.poll() is not None or time.monotonic() > deadline:
                said = present.log.read_text(errors="replace")[-4000:]
                raise RuntimeError(f"Buildbot does not come up, {present.log.name} ends: {said}")
        time.sleep(_LOOK_SECONDS)


def _lists_workers(rest: str) -> bool:
    try:
        _listing(f"{rest}/workers")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


def _has_worker(rest: str) -> bool:
    return any(worker["connected_to"] for worker in _listing(f"{rest}/workers")["workers"])


def _listing(url: str) -> Mapping[str, Sequence[_Found]]:
    found: dict[str, list[_Found]] = json.loads(_bytes(url))
    return found


def _bytes(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with _NO_PROXY.open(request, timeout=_CALL_SECONDS) as answer:
        content: bytes = answer.read()
        return content
