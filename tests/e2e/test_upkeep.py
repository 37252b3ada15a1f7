"""What administrators look at and clean up beside a running controller, and after the last one."""

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.conftest import running_installation
from tests.e2e.installation import Installation
from tests.e2e.projects import ProjectMaker

TEST = "def test_it(): pass\n"


@pytest.fixture
def untouched(tmp_path: Path) -> Iterator[Installation]:
    """An installation of the test's own."""
    with running_installation(tmp_path / "installation", CI_WARM_CONTAINERS="0") as made:
        yield made


def test_status_clean_up_and_giving_up(untouched: Installation, project: ProjectMaker) -> None:
    client = untouched.new_client()
    assert client.submit(project.test(TEST)).exit_code == 0

    status = json.loads(untouched.admin("status", "--json"))
    assert status["controller"]["is_running"] is True
    assert status["controller"]["state"] == "ready"
    assert status["controller"]["pid"] == untouched.controller.pid
    assert status["queue"] == {"queued": 0, "running": 0}
    assert status["engine"]["answers"] is True
    assert status["engine"]["volumes"] == 1

    # Beside the controller, what is cached stays.
    assert "0 environments" in untouched.admin("gc")
    assert len(untouched.engine.volumes()) == 1
    refused = untouched.run_admin("gc", "--everything")
    assert (refused.exit_code, refused.stdout) == (1, b"")
    assert f"process {untouched.controller.pid}" in refused.stderr

    assert untouched.controller.stop() == 0
    assert "1 environments, 1 job images" in untouched.admin("gc", "--everything")
    left = json.loads(untouched.admin("status", "--json"))
    assert left["controller"]["is_running"] is False
    held = {name: left["engine"][name] for name in ("containers", "volumes", "job_images")}
    assert held == {"containers": 0, "volumes": 0, "job_images": 0}

    # It was all a cache: the next controller makes it anew.
    untouched.start_controller()
    assert client.submit(project.test(TEST)).exit_code == 0


def test_images_are_listed_by_what_docker_run_takes(installation: Installation) -> None:
    images = json.loads(installation.admin("image", "list", "--json"))
    assert images
    for image in images:
        assert set(image) == {"name", "python", "created_at", "size_bytes"}
        assert image["size_bytes"] > 0
    names = [image["name"] for image in images]
    table = installation.admin("image", "list").splitlines()
    assert [line.split()[0] for line in table[1:]] == names
    engine = docker.from_env()
    try:
        assert [engine.images.get(name).tags for name in names] == [[name] for name in names]
    finally:
        engine.close()
