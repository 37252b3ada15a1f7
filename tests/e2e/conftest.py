"""What end-to-end tests share: installations that live as long as the test process, projects, clients.

Settings that the controller reads at its start have installations of their own; everything else happens
on the common one. A test that needs an untouched user makes one.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.installation import Client, Installation, ensure_base_image
from tests.e2e.processes import Running
from tests.e2e.projects import ProjectMaker


@contextmanager
def running_installation(folder: Path, **settings: str) -> Generator[Installation]:
    """A controller and one server at work; nothing is left of them afterwards."""
    installation = Installation(folder, **settings)
    try:
        ensure_base_image(folder, installation.environ())
        installation.start_controller()
        installation.start_server()
        yield installation
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")
        raise
    finally:
        installation.close()


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The common one."""
    with running_installation(tmp_path_factory.mktemp("installation"), CI_MAX_CONCURRENT_JOBS="3") as made:
        yield made


@pytest.fixture(scope="session")
def client(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A user of the common one, whose environment with pytest is cached already."""
    return warm(installation.new_client("alice"), ProjectMaker(tmp_path_factory.mktemp("warm")))


def warm(client: Client, project: ProjectMaker) -> Client:
    """The same client, with an environment that holds pytest in the cache."""
    done = client.submit(project.test("def test_it(): pass\n"))
    assert done.exit_code == 0, done
    return client


@pytest.fixture
def project(tmp_path: Path) -> ProjectMaker:
    """Makes projects that vanish with the test."""
    return ProjectMaker(tmp_path / "projects")


@pytest.fixture(autouse=True)
def no_command_outlives_its_test() -> Iterator[None]:
    """A test that fails in the middle leaves its commands to this."""
    yield
    Running.end_all()
