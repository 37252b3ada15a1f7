"""A server takes submissions while the controller has no image to run them on yet."""

import io
import json
import uuid
from collections.abc import Iterator

import docker
import pytest

from tests.e2e.checks import assert_ended
from tests.e2e.installation import Installation, Submitted, ensure_base_image, job_id_in
from tests.e2e.projects import RAW, ProjectMaker


@pytest.fixture
def installation_without_controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose controller has never run."""
    folder = tmp_path_factory.mktemp("bare")
    made = Installation(folder)
    ensure_base_image(folder, made.environ())
    made.start_server()
    yield made
    made.close()


@pytest.fixture
def strange_image(installation_without_controller: Installation) -> Iterator[str]:
    """An image with a Python that the platform has never seen."""
    name = f"ci-e2e-strange-{uuid.uuid4().hex[:8]}:1"
    client = docker.from_env()
    listed = json.loads(installation_without_controller.admin("image", "list", "--json"))
    recipe = f"FROM {listed[-1]['name']}\nLABEL ci.e2e={name}\n"
    client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, rm=True, forcerm=True)
    yield name
    client.images.remove(name, force=True)
    client.close()


def test_the_job_waits_says_why_and_runs(
    installation_without_controller: Installation, strange_image: str, project: ProjectMaker
) -> None:
    installation = installation_without_controller
    client = installation.new_client("early")
    running = client.start("submit", "test", "--", *RAW, cwd=project.writing(b"at last"))
    running.stderr.wait_for(b"Job ID: ")
    running.stderr.wait_for(b"controller")
    assert client.job(job_id_in(running.stderr.seen().decode()))["status"] == "queued"
    installation.start_controller(CI_PYTHON_BASE_IMAGE=strange_image)
    running.stderr.wait_for(b"image")
    done = running.finish()
    assert_ended(client, Submitted(job_id_in(done.stderr), done), 0, b"at last")
