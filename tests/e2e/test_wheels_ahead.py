"""Wheels that lie ready for a user's next environment: for that user's alone, and only a convenience."""

import re
from collections.abc import Iterator

import pytest

from tests.e2e.checks import assert_ended
from tests.e2e.conditions import eventually
from tests.e2e.conftest import running_installation
from tests.e2e.installation import Client, Installation
from tests.e2e.projects import RAW, ProjectMaker

WARM = 5
"""One that can test on the last environment, two for anybody's next one, two for its owner's."""
BEFORE = "pytest\n"
AFTER = "pytest\nsix\n"
TEST = """
    import pathlib, sys

    def test_it():
        assert not (pathlib.Path(sys.prefix) / ".build").exists()
    """


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("wheels")
    with running_installation(folder, CI_WARM_CONTAINERS=str(WARM), CI_MAX_CONCURRENT_JOBS="2") as made:
        yield made


@pytest.fixture
def owner(prepared: Installation, project: ProjectMaker) -> Client:
    """Somebody who has just installed packages, whose wheels lie ready now."""
    client = prepared.new_client("owner")
    done = client.submit(project.test(TEST, requirements=BEFORE), *RAW)
    assert_ended(client, done, 0, b"")
    assert prepared_wheels(done.stderr) > 1
    told = f"wheels for the next environment of user {client.user.id} are ready"
    eventually(lambda: told in prepared.controller.read_log(), "wheels to lie ready")
    return client


def prepared_wheels(stderr: str) -> int:
    """How many packages the job whose stderr this is had to get."""
    match = re.search(r"Prepared (\d+) packages? in", stderr)
    return 0 if match is None else int(match.group(1))


def test_only_what_is_new_is_got(owner: Client, project: ProjectMaker) -> None:
    done = owner.submit(project.test(TEST, requirements=AFTER), *RAW)
    assert_ended(owner, done, 0, b"")
    assert prepared_wheels(done.stderr) == 1


def test_nobody_else_gets_them(prepared: Installation, owner: Client, project: ProjectMaker) -> None:
    assert owner.jobs()
    for requirements in (BEFORE, AFTER):
        stranger = prepared.new_client("stranger")
        done = stranger.submit(project.test(TEST, requirements=requirements), *RAW)
        assert_ended(stranger, done, 0, b"")
        assert prepared_wheels(done.stderr) > 1


def test_a_fresh_installation_starts_from_nothing(owner: Client, project: ProjectMaker) -> None:
    done = owner.submit(project.test(TEST, requirements=BEFORE), *RAW, flags=("--fresh",))
    assert_ended(owner, done, 0, b"")
    assert prepared_wheels(done.stderr) > 1


def test_what_is_broken_or_being_fetched_harms_nobody(
    prepared: Installation, owner: Client, project: ProjectMaker
) -> None:
    for container in prepared.engine.waiting():
        prepared.engine.disturb(container, "kill")
    for requirements in (AFTER, "pytest\nidna\n"):
        done = owner.submit(project.test(TEST, requirements=requirements), *RAW)
        assert_ended(owner, done, 0, b"")
    assert prepared.controller.stop() == 0
    assert not prepared.engine.waiting()
    prepared.start_controller()
