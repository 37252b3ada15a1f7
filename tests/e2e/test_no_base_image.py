"""A server takes submissions while the controller has no image to run them on yet."""

import io
import json
import uuid
from collections.abc import Iterator
from contextlib import closing

import docker
import pytest

from tests.e2e.checks import assert_ended
from tests.e2e.installation import Installation, Submitted, ensure_base_image, job_id_in
from tests.e2e.projects import RAW, ProjectMaker


@pytest.fixture
def strange_image() -> Iterator[str]:
    """Name of an image that the engine doesn't have yet."""
    name = f"ci-e2e-strange-{uuid.uuid4().hex[:8]}:1"
    yield name
    with closing(docker.from_env()) as engine:
        engine.images.remove(name, force=True)


@pytest.fixture
def installation_without_controller(
    tmp_path_factory: pytest.TempPathFactory, strange_image: str
) -> Iterator[Installation]:
    """An installation whose controller has never run; gone before the image that it will be made of."""
    assert strange_image
    folder = tmp_path_factory.mktemp("bare")
    made = Installation(folder)
    ensure_base_image(folder, made.environ())
    made.start_server()
    yield made
    made.close()


def build(installation: Installation, name: str) -> None:
    """Make an image with a Python that the platform has never seen."""
    (base, *_) = json.loads(installation.admin("image", "list", "--json"))
    recipe = f"FROM {base['name']}\nLABEL ci.e2e={name} ci.base=\n"
    with closing(docker.from_env()) as engine:
        engine.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, rm=True, forcerm=True)


def test_the_job_waits_says_why_and_runs(
    installation_without_controller: Installation, strange_image: str, project: ProjectMaker
) -> None:
    installation = installation_without_controller
    client = installation.new_client("early")
    running = client.start("submit", "test", "--", *RAW, cwd=project.writing(b"at last"))
    running.stderr.wait_for(b"Job ID: ")
    running.stderr.wait_for(b"no controller")
    job_id = job_id_in(running.stderr.seen().decode())
    installation.start_controller(CI_PYTHON_BASE_IMAGE=strange_image)
    running.stderr.wait_for(strange_image.encode())
    assert client.job(job_id)["status"] == "queued"
    build(installation, strange_image)
    done = running.finish()
    assert_ended(client, Submitted(job_id, done), 0, b"at last")
