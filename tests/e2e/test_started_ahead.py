"""Containers that are started before their jobs: used once, by one user, and gone with their controller."""

from collections.abc import Iterator

import pytest

from tests.e2e.conditions import eventually
from tests.e2e.conftest import running_installation, warm
from tests.e2e.installation import Client, Installation, Submitted, job_id_in
from tests.e2e.projects import RAW, ProjectMaker, counted, counting

WARM = 3
"""One that can test on the cached packages, and two for packages that nobody has installed yet."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("ahead")
    with running_installation(folder, CI_WARM_CONTAINERS=str(WARM), CI_MAX_CONCURRENT_JOBS="2") as made:
        yield made


@pytest.fixture(scope="module")
def owner(prepared: Installation, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return warm(prepared.new_client("owner"), ProjectMaker(tmp_path_factory.mktemp("warm")))


def all_waiting(installation: Installation) -> set[str]:
    """Ids of the whole stock, once it is there."""

    def look() -> set[str] | None:
        found = {str(container.id) for container in installation.engine.waiting()}
        return found if len(found) == WARM else None

    return eventually(look, "containers to wait")


def assert_passed(submitted: Submitted, output: bytes) -> None:
    assert (submitted.exit_code, submitted.stdout) == (0, output), submitted.stderr


def test_a_job_takes_the_one_that_waits_for_its_packages(
    prepared: Installation, owner: Client, project: ProjectMaker
) -> None:
    before = all_waiting(prepared)
    running = owner.start("submit", "test", "--", *RAW, cwd=project.test(counting(200, 0.01)))
    running.stdout.wait_for(b"line 3\n")
    job_id = job_id_in(running.stderr.seen().decode())
    [container] = prepared.engine.containers(job_id)
    assert container.id in before
    assert container.name == f"{prepared.prefix}{job_id}"
    assert running.finish().stdout == counted(200)
    eventually(lambda: not prepared.engine.exists(str(container.id)), "the container to go")
    assert len(all_waiting(prepared) - before) == 1


def test_new_packages_are_installed_in_one_and_tested_in_its_twin(
    prepared: Installation, owner: Client, project: ProjectMaker
) -> None:
    assert owner.jobs()  # there is an environment to wait for
    stranger = prepared.new_client("stranger")
    before = all_waiting(prepared)
    running = stranger.start("submit", "test", "--", *RAW, cwd=project.test(counting(200, 0.01)))
    running.stdout.wait_for(b"line 3\n")
    [container] = prepared.engine.containers(job_id_in(running.stderr.seen().decode()))
    assert container.id in before
    assert running.finish().stdout == counted(200)


@pytest.mark.parametrize("how", ["kill", "pause", "remove"])
def test_one_that_is_broken_harms_no_job(
    prepared: Installation, owner: Client, project: ProjectMaker, how: str
) -> None:
    all_waiting(prepared)
    for container in prepared.engine.waiting():
        prepared.engine.disturb(container, how)
    assert_passed(owner.submit(project.test(counting(5, 0)), *RAW), counted(5))


def test_those_of_a_killed_controller_go_and_others_come(
    prepared: Installation, owner: Client, project: ProjectMaker
) -> None:
    before = all_waiting(prepared)
    prepared.controller.kill()
    prepared.start_controller()
    eventually(lambda: not any(map(prepared.engine.exists, before)), "the old ones to go")
    assert not all_waiting(prepared) & before
    assert_passed(owner.submit(project.test(counting(5, 0)), *RAW), counted(5))


def test_none_outlives_an_orderly_end(prepared: Installation, owner: Client) -> None:
    assert owner.jobs()
    all_waiting(prepared)
    assert prepared.controller.stop() == 0
    assert not prepared.engine.waiting()
    prepared.start_controller()
    all_waiting(prepared)


def test_none_is_started_where_that_is_not_wanted(
    prepared: Installation, owner: Client, project: ProjectMaker
) -> None:
    prepared.restart_controller(CI_WARM_CONTAINERS="0")
    assert_passed(owner.submit(project.test(counting(5, 0)), *RAW), counted(5))
    assert not prepared.engine.waiting()
    prepared.restart_controller()
