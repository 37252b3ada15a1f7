"""Commands that ask the engine, where there is none: one line, or a state, never a traceback."""

import json
from pathlib import Path

from tests.integration.admin.admin_command import AdminCommand


def _nowhere(tmp_path: Path) -> str:
    return f"unix://{tmp_path}/no-engine.sock"


def test_status_tells_what_it_knows_without_an_engine(admin: AdminCommand, tmp_path: Path) -> None:
    done = admin.run("status", "--json", DOCKER_HOST=_nowhere(tmp_path))
    assert done.exit_code == 0, done
    status = json.loads(done.stdout)
    assert status["engine"]["answers"] is False
    assert "no-engine.sock" in status["engine"]["error"]
    assert status["controller"]["is_running"] is False
    assert status["queue"] == {"queued": 0, "running": 0}
    assert status["database"]["path"] == str(admin.db_path)
    assert status["disk"]["bundles_bytes"] == 0


def test_status_for_people(admin: AdminCommand, tmp_path: Path) -> None:
    done = admin.run("status", DOCKER_HOST=_nowhere(tmp_path))
    assert done.exit_code == 0, done
    lines = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert lines["Controller"].strip() == "none has run yet"
    assert lines["Queue"].strip() == "0 queued, 0 running"
    assert str(admin.db_path) in lines["Database"]


def test_what_needs_the_engine_says_that_there_is_none(admin: AdminCommand, tmp_path: Path) -> None:
    for command in (["image", "list"], ["image", "build"], ["gc"], ["gc", "--everything"]):
        done = admin.run(*command, DOCKER_HOST=_nowhere(tmp_path))
        assert (done.exit_code, done.stdout) == (1, "")
        assert "no-engine.sock" in done.stderr.splitlines()[-1]


def test_a_version_that_is_none_is_bad_use(admin: AdminCommand) -> None:
    for version in ("3", "2.7", "3.11.4", "latest", "3.x"):
        assert admin.run("image", "build", "--python", version).exit_code == 2
