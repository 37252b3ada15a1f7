"""Several users, many jobs, two installations, all on one engine at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.conditions import eventually
from tests.e2e.conftest import running_installation, warm
from tests.e2e.installation import Client, Installation
from tests.e2e.projects import RAW, ProjectMaker, counted, counting

JOBS_OF_EACH = 10


def test_thirty_jobs_of_three_users(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    users = [client, installation.new_client("bob"), installation.new_client("carol")]
    made = {
        (position, number): project.writing(b"user %d, job %d\n" % (position, number))
        for position in range(len(users))
        for number in range(JOBS_OF_EACH)
    }

    def run(which: tuple[int, int]) -> tuple[tuple[int, int], int, bytes, str]:
        done = users[which[0]].submit(made[which], *RAW)
        return which, done.exit_code, done.stdout, done.job_id

    with ThreadPoolExecutor(len(made)) as pool:
        results = list(pool.map(run, made))
    for (position, number), exit_code, stdout, _ in results:
        assert (exit_code, stdout) == (0, b"user %d, job %d\n" % (position, number))
    ids = {(position, job_id) for (position, _), _, _, job_id in results}
    for position, user in enumerate(users):
        listed = {str(job["job_id"]) for job in user.jobs()}
        assert {job_id for owner, job_id in ids if owner == position} <= listed
        assert not {job_id for owner, job_id in ids if owner != position} & listed
    eventually(installation.has_no_containers, "all containers to go")


def test_jobs_start_in_the_order_of_their_submission(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    made = project.test("def test_it(): pass\n")
    ids = [client.submit_async(made, *RAW) for _ in range(8)]
    jobs = [client.wait_until(job_id, "completed") for job_id in ids]
    starts = [str(job["start_time"]) for job in jobs]
    assert starts == sorted(starts)
    assert {job["attempt"] for job in jobs} == {1}


def test_never_more_at_once_than_allowed(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    made = project.test("import time\n\ndef test_it():\n    time.sleep(0.5)\n")
    ids = [client.submit_async(made, *RAW) for _ in range(7)]
    most = 0
    while not all(client.job(job_id)["status"] == "completed" for job_id in ids):
        running = [c for c in installation.engine.containers() if c.status == "running"]
        most = max(most, len(running))
    assert 0 < most <= 3


def test_two_installations_on_one_engine(
    installation: Installation,
    client: Client,
    project: ProjectMaker,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    long_test = counting(600, 0.01)
    first = client.start("submit", "test", "--", *RAW, cwd=project.test(long_test))
    first.stdout.wait_for(b"line 5\n")
    with running_installation(tmp_path_factory.mktemp("neighbour")) as neighbour:
        stranger = warm(neighbour.new_client("nina"), project)
        second = stranger.start("submit", "test", "--", *RAW, cwd=project.test(long_test))
        second.stdout.wait_for(b"line 5\n")
        # Each cleans up thoroughly, and finds nothing of the other's.
        installation.admin("gc")
        neighbour.admin("gc")
        neighbour.restart_controller()
        for running in (first, second):
            done = running.finish()
            assert (done.exit_code, done.stdout) == (0, counted(600))
        assert client.user.email not in neighbour.admin("user", "list")
        assert stranger.run("list", CI_API_URL=client.environ["CI_API_URL"]).exit_code == 77
    # The neighbour's end takes nothing away from here.
    done = client.submit(project.test("def test_it(): pass\n"), *RAW)
    assert done.exit_code == 0
    assert " + pytest==" not in done.stderr
