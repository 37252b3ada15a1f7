"""scripts/demo and scripts/up from outside: what they show, and that they leave nothing behind."""

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest

from tests.e2e.conditions import eventually
from tests.e2e.installation import Client, User, free_port, job_id_in
from tests.e2e.processes import Running, clean_environ, command
from tests.e2e.projects import ProjectMaker

ROOT = Path(__file__).parents[2]
ENGINE_LOCK = Path("/run/ci-scripts/lock")
ENGINE_STARTED = Path("/run/ci-scripts/started")


@pytest.fixture(autouse=True)
def engine_stays() -> Iterator[None]:
    """Keep a script from stopping an engine that it takes for its own, or from keeping it for good.

    The script that runs these tests has perhaps started it, and must find its mark again.
    """
    if not ENGINE_LOCK.exists():
        yield
        return
    with ENGINE_LOCK.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        started = ENGINE_STARTED.read_bytes() if ENGINE_STARTED.exists() else None
        yield
        if started is not None:
            ENGINE_STARTED.write_bytes(started)


def _script(name: str, *arguments: str, **environ: str) -> Running:
    passed_on = {name: os.environ[name] for name in ("CI_CA_BUNDLE",) if name in os.environ}
    return Running([str(ROOT / "scripts" / name), *arguments], clean_environ(**passed_on) | environ, ROOT)


def test_the_demo_shows_a_test_run_and_leaves_nothing(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = _script("demo", TMPDIR=str(scratch), HOME=str(tmp_path)).finish(patience_seconds=280)
    assert done.exit_code == 0, done
    assert b"test_inventory.py::test_takes PASSED" in done.stdout
    assert b"= 8 passed in " in done.stdout.rstrip().splitlines()[-1]
    client = docker.from_env()
    try:
        filters: dict[str, str | list[str] | bool] = {"label": f"ci.job={job_id_in(done.stderr)}"}
        assert client.containers.list(all=True, filters=filters) == []
    finally:
        client.close()
    assert list(scratch.iterdir()) == []


def test_up_serves_until_it_is_told_to_stop(tmp_path: Path, project: ProjectMaker) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    data = {"CI_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)}
    up = _script("up", "--port", url.rpartition(":")[2], **data)
    try:
        eventually(lambda: not up.is_alive() or _answers(url), "the server")
        assert up.is_alive(), up.finish()
        assert b"user create" in up.stderr.seen()
        client = Client(tmp_path / "client", User("", "", _new_key(data)), url)
        done = client.run("submit", "test", cwd=project.test("def test_it(): pass\n"))
        assert done.exit_code == 0, done
    finally:
        up.send(signal.SIGTERM)
        up.finish()
        _admin(data, "gc", "--everything")
    assert not _answers(url)


def _new_key(data: dict[str, str]) -> str:
    _admin(data, "user", "create", "--name", "Ada", "--email", "ada@example.com")
    printed = _admin(data, "key", "create", "--name", "up", "--email", "ada@example.com")
    return next(line for line in printed.splitlines() if line.startswith("API Key: ")).split()[-1]


def _admin(data: dict[str, str], *arguments: str) -> str:
    done = Running([command("ci-admin"), *arguments], clean_environ(**data), ROOT).finish()
    assert done.exit_code == 0, done
    return done.stdout.decode()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
