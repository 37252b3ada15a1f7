import io
import tarfile
from collections.abc import Iterator

import pytest

from ci_common.ids import Fence, new_job_id
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import NO_NETWORK, ContainerRequest
from ci_controller.container_view import Role
from ci_controller.engine_errors import ImageBuildFailed, InUse
from tests.integration.engine.bench import LIMITS, Bench, docker, in_image, labels
from tests.integration.engine.conftest import clean_up, new_instance

LOOK_UP = "import pwd; print(pwd.getpwuid(20003).pw_name)"
FIT = f"id -u ci && uv --version && python3 -c '{LOOK_UP}' && ls -d /env /job"


@pytest.fixture
def bare_image(base_image: str) -> Iterator[str]:
    """An image with Python alone, as anybody's might be."""
    strip = "rm -rf /usr/local/bin/uv /env /job /opt/ci && sed -i /^ci/d /etc/passwd /etc/group"
    container = docker("create", "--entrypoint=sh", base_image, "-c", strip)
    docker("start", "--attach", container)
    image = docker("commit", "--change=LABEL ci.base=", container)  # has no name, and stays all the same
    docker("rm", container)
    yield image
    docker("rmi", image)


@pytest.fixture
def pythonless_image() -> Iterator[str]:
    """An image that holds next to nothing."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("etc/nothing"))
    image = docker("import", "-", data=archive.getvalue())
    yield image
    docker("rmi", image)


def ignore(_: str) -> None:
    """A report that nobody reads."""


async def test_the_base_image_has_what_jobs_need_and_belongs_to_nobody(
    manager: ContainerManager, base_image: str
) -> None:
    [found] = [image for image in await manager.list_base_images() if image.name == base_image]
    assert found.python == "3.11"
    assert found.size_bytes > 0
    assert in_image(base_image, FIT).split()[0] == "10000"
    assert in_image(base_image, FIT, "--user=ci").split()[-3:] == ["ci3", "/env", "/job"]
    assert (labels(base_image)["ci.base"], labels(base_image)["ci.instance"]) == ("1", "")
    assert base_image not in [image.name for image in await manager.list_job_images()]


async def test_a_job_image_is_made_once_and_holds_the_runner(
    manager: ContainerManager, base_image: str
) -> None:
    reports: list[str] = []
    made = await manager.ensure_job_image(base_image, reports.append)
    assert reports
    reports.clear()
    assert await manager.ensure_job_image(base_image, reports.append) == made
    assert not reports
    assert made.name not in [image.name for image in await manager.list_base_images()]
    [listed] = await manager.list_job_images()
    assert (listed.name, listed.id) == (made.name, made.id)
    assert "runner.py" in in_image(made.name, "ls /opt/ci")
    assert not await manager.list()


async def test_each_installation_has_its_own(manager: ContainerManager, base_image: str) -> None:
    made = await manager.ensure_job_image(base_image, ignore)
    async with ContainerManager(new_instance()) as other:
        assert not await other.list_job_images()
        assert (await other.ensure_job_image(base_image, ignore)).name != made.name
        await clean_up(other)
    assert [image.name for image in await manager.list_job_images()] == [made.name]


async def test_an_image_of_the_administrators_is_given_what_it_lacks(
    bare_image: str, manager: ContainerManager
) -> None:
    made = await manager.ensure_job_image(bare_image, ignore)
    assert in_image(made.name, FIT).split()[0] == "10000"
    assert "runner.py" in in_image(made.name, "ls /opt/ci")


async def test_an_image_without_python_is_refused_and_leaves_nothing(
    pythonless_image: str, manager: ContainerManager
) -> None:
    with pytest.raises(ImageBuildFailed, match="python3"):
        await manager.ensure_job_image(pythonless_image, ignore)
    assert not await manager.list_job_images()
    assert not await manager.list()


async def test_an_image_that_can_not_be_had_is_said_so(manager: ContainerManager) -> None:
    with pytest.raises(ImageBuildFailed, match="CI_PYTHON_BASE_IMAGE"):
        await manager.ensure_job_image("ci-test-nowhere.invalid/none:1", ignore)


async def test_an_image_in_use_is_not_removed(bench: Bench) -> None:
    container = await bench.manager.create(bench.request())
    with pytest.raises(InUse):
        await bench.manager.remove_image(bench.image)
    await bench.manager.remove(container)
    await bench.manager.remove_image(bench.image)
    await bench.manager.remove_image(bench.image)


async def test_the_runner_of_a_job_image_is_process_one(manager: ContainerManager, base_image: str) -> None:
    made = await manager.ensure_job_image(base_image, ignore)
    request = ContainerRequest(
        name=f"ci-test-{new_job_id()}",
        image=made.name,
        role=Role.JOB,
        job_id=new_job_id(),
        fence=Fence(1),
        attempt=1,
        slot=0,
        limits=LIMITS,
        network=NO_NETWORK,
        environment=None,
        frames_version=1,
    )
    container = await manager.create(request)
    assert await manager.start(container)
    await manager.feed(container, iter([b"\0\0"]))
    frames = b"".join([piece async for piece in manager.follow(container)])
    assert frames.startswith(b"1 ")
    assert b"Traceback" not in frames
