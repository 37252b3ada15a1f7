"""The controller dies by SIGKILL wherever it may be, and the next one goes on: no byte lost or repeated."""

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.e2e.checks import assert_ended
from tests.e2e.conditions import eventually
from tests.e2e.conftest import running_installation, warm
from tests.e2e.installation import Client, Installation, Submitted, job_id_in
from tests.e2e.processes import Running, Service
from tests.e2e.projects import RAW, ProjectMaker, counted, counting, sdist

LINES = 300
LOCK_SECONDS = 7
"""Longer than any single write is prepared to wait."""
COUNTING = counting(LINES, 0.01)
SLOW_BACKEND = """
    import os, time, zipfile

    def get_requires_for_build_wheel(config_settings=None):
        return []

    def build_wheel(directory, config_settings=None, metadata_directory=None):
        time.sleep(2)
        name = "slow-1-py3-none-any.whl"
        with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
            wheel.writestr("slow-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: slow\\nVersion: 1\\n")
            wheel.writestr(
                "slow-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
            )
            wheel.writestr("slow-1.dist-info/RECORD", "")
        return name
    """


class Restless:
    """An installation whose controller is killed and started again."""

    def __init__(self, installation: Installation, client: Client, controller: Service) -> None:
        self.installation = installation
        self.client = client
        self._controller = controller

    def kill(self) -> None:
        self._controller.kill()

    def stop(self) -> None:
        assert self._controller.stop() == 0

    def freeze(self) -> None:
        self._controller.send(signal.SIGSTOP)

    def is_dead(self) -> bool:
        return self._controller.exit_code() is not None

    def adopt(self, controller: Service) -> None:
        self._controller = controller

    def start(self) -> None:
        self._controller = self.installation.start_controller()

    def kill_and_start(self) -> None:
        self.kill()
        self.start()

    def submitted(
        self, project: ProjectMaker, body: str = COUNTING, requirements: str = "pytest\n"
    ) -> Running:
        made = project.test(body, requirements=requirements)
        return self.client.start("submit", "test", "--", *RAW, cwd=made)

    def assert_ended(self, running: Running, output: bytes = counted(LINES)) -> None:
        done = running.finish()
        assert_ended(self.client, Submitted(job_id_in(done.stderr), done), 0, output)
        eventually(self.installation.has_no_containers, "the container to go")


def id_of(running: Running) -> str:
    running.stderr.wait_for(b"Job ID: ")
    return eventually(lambda: job_id_in(running.stderr.seen().decode()), "the job's id")


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restless]:
    with running_installation(tmp_path_factory.mktemp("restless"), CI_MAX_CONCURRENT_JOBS="1") as made:
        client = warm(made.new_client("rex"), ProjectMaker(tmp_path_factory.mktemp("warm")))
        made.restart_controller()
        yield Restless(made, client, made.controller)


def test_while_jobs_are_queued(restless: Restless, project: ProjectMaker) -> None:
    first = restless.submitted(project)
    first.stdout.wait_for(b"line 3\n")
    others = [restless.submitted(project, counting(n, 0)) for n in (5, 6)]
    for other in others:
        id_of(other)
    restless.kill_and_start()
    restless.assert_ended(first)
    for other, lines in zip(others, (5, 6), strict=True):
        restless.assert_ended(other, counted(lines))


def test_before_anything_has_begun(restless: Restless, project: ProjectMaker) -> None:
    restless.kill()
    running = restless.submitted(project, counting(5, 0))
    id_of(running)
    restless.start()
    restless.assert_ended(running, counted(5))


def test_while_packages_are_installed(restless: Restless, project: ProjectMaker) -> None:
    made = project(
        {
            "tests/test_it.py": "from importlib.metadata import version\n\n"
            "def test_it():\n    print(version('slow'), end='')\n",
        },
        requirements="pytest\n./slow-1.tar.gz\n",
    )
    (made / "slow-1.tar.gz").write_bytes(sdist("slow-1", SLOW_BACKEND))
    running = restless.client.start("submit", "test", "--", *RAW, cwd=made)
    job_id = id_of(running)
    eventually(lambda: restless.installation.engine.installing(job_id), "the installation to begin")
    restless.kill_and_start()
    restless.assert_ended(running, b"1")


def test_while_files_are_sent(restless: Restless, project: ProjectMaker) -> None:
    made = project.test("import os\n\ndef test_it():\n    print(os.path.getsize('big'), end='')\n")
    (made / "big").write_bytes(bytes(300 << 20))
    running = restless.client.start("submit", "test", "--", *RAW, cwd=made)
    job_id = id_of(running)
    eventually(lambda: restless.installation.engine.running(job_id), "its container to run")
    restless.kill_and_start()
    restless.assert_ended(running, str(300 << 20).encode())


def test_while_the_container_is_made(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project, counting(5, 0))
    job_id = id_of(running)
    eventually(lambda: restless.installation.engine.containers(job_id), "its container to be there")
    restless.kill_and_start()
    restless.assert_ended(running, counted(5))


def test_while_tests_run(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project)
    running.stdout.wait_for(b"line 100\n")
    restless.kill_and_start()
    restless.assert_ended(running)


def test_again_and_again_while_tests_run(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project, counting(1000, 0.01))
    for number in (10, 150, 400, 700):
        running.stdout.wait_for(b"line %d\n" % number)
        restless.kill_and_start()
    restless.assert_ended(running, counted(1000))


def test_while_a_flood_is_written(restless: Restless, project: ProjectMaker) -> None:
    line = b"=" * 79 + b"\n"
    body = f"import os\n\ndef test_it():\n    for _ in range(2000):\n        os.write(1, {line!r} * 100)\n"
    running = restless.submitted(project, body)
    eventually(lambda: len(running.stdout.seen()) > 100_000, "the flood to begin")
    restless.kill_and_start()
    restless.assert_ended(running, line * 200_000)


def test_while_the_tests_end_without_a_controller(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project, counting(50, 0.02))
    running.stdout.wait_for(b"line 1\n")
    job_id = id_of(running)
    restless.kill()
    eventually(
        lambda: all(c.status == "exited" for c in restless.installation.engine.containers(job_id)),
        "the container to end",
    )
    restless.start()
    restless.assert_ended(running, counted(50))


def test_at_the_moment_of_the_end(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project, counting(30, 0.01))
    running.stdout.wait_for(b"line 29\n")
    restless.kill_and_start()
    restless.assert_ended(running, counted(30))


def test_a_job_cancelled_while_there_is_no_controller(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project, counting(100_000, 0.01))
    running.stdout.wait_for(b"line 3\n")
    restless.kill()
    job_id = id_of(running)
    assert restless.client.run("cancel", job_id).exit_code == 0
    restless.start()
    assert running.finish().exit_code == 130
    eventually(restless.installation.has_no_containers, "the container to go")


def test_sigterm_leaves_jobs_running(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project)
    running.stdout.wait_for(b"line 20\n")
    job_id = id_of(running)
    container = restless.installation.engine.running(job_id)
    restless.stop()
    assert container == restless.installation.engine.running(job_id)
    restless.start()
    restless.assert_ended(running)


def test_a_standby_takes_over(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project, counting(1000, 0.01))
    running.stdout.wait_for(b"line 10\n")
    standby = restless.installation.start_controller()
    eventually(lambda: "standing by" in standby.read_log(), "the second controller to stand by")
    restless.kill()
    restless.adopt(standby)
    restless.assert_ended(running, counted(1000))


def test_a_leader_that_stands_still_is_ended(restless: Restless, project: ProjectMaker) -> None:
    running = restless.submitted(project, counting(1000, 0.01))
    running.stdout.wait_for(b"line 10\n")
    standby = restless.installation.start_controller()
    restless.freeze()
    eventually(restless.is_dead, "the standby to end the frozen leader")
    restless.adopt(standby)
    restless.assert_ended(running, counted(1000))


def test_an_orphan_is_removed(restless: Restless) -> None:
    restless.kill()
    images = json.loads(restless.installation.admin("image", "list", "--json"))
    orphan = restless.installation.engine.make_orphan(restless.installation.prefix, images[-1]["name"])
    restless.start()
    eventually(lambda: not restless.installation.engine.exists(orphan), "the orphan to be removed")


def test_while_somebody_holds_the_database(restless: Restless, project: ProjectMaker) -> None:
    restless.kill()
    first, second = (restless.submitted(project, counting(n, 0)) for n in (5, 6))
    for running in (first, second):
        id_of(running)
    with closing(sqlite3.connect(restless.installation.data_dir / "ci.db")) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        held_since = time.monotonic()
        restless.start()
        eventually(lambda: time.monotonic() > held_since + LOCK_SECONDS, "the time of the intruder")
        intruder.rollback()
    restless.assert_ended(first, counted(5))
    restless.assert_ended(second, counted(6))
