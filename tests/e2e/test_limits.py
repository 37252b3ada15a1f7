"""What a job may use up, and that its end is clear and leaves nothing behind."""

from collections.abc import Iterator

import pytest

from tests.e2e.checks import assert_ended, assert_no_result
from tests.e2e.conditions import eventually
from tests.e2e.conftest import running_installation, warm
from tests.e2e.installation import Client, Installation
from tests.e2e.projects import RAW, ProjectMaker

TIME_LIMIT_SECONDS = 3
LOG_LIMIT_BYTES = 300_000
DISK_LIMIT = "60m"


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with little room, but much time."""
    with running_installation(
        tmp_path_factory.mktemp("narrow"),
        CI_JOB_MEMORY="200m",
        CI_JOB_PIDS="100",
        CI_JOB_DISK=DISK_LIMIT,
        CI_MAX_LOG_BYTES=str(LOG_LIMIT_BYTES),
    ) as made:
        yield made


@pytest.fixture(scope="module")
def user(narrow: Installation, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Somebody in there."""
    return warm(narrow.new_client("nora"), ProjectMaker(tmp_path_factory.mktemp("warm")))


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Client]]:
    """An installation with little time, which begins once the environment is there."""
    with running_installation(tmp_path_factory.mktemp("hurried"), CI_MAX_CONCURRENT_JOBS="2") as made:
        client = warm(made.new_client("harry"), ProjectMaker(tmp_path_factory.mktemp("warm")))
        made.restart_controller(CI_JOB_TIMEOUT_SECONDS=str(TIME_LIMIT_SECONDS))
        yield made, client


def assert_nothing_left(installation: Installation, job_id: str) -> None:
    eventually(lambda: not installation.engine.containers(job_id), f"the containers of {job_id} to go")


def test_a_test_that_sleeps_past_the_time_limit(
    hurried: tuple[Installation, Client], project: ProjectMaker
) -> None:
    installation, client = hurried
    body = "import os, time\n\ndef test_it():\n    os.write(1, b'before')\n    time.sleep(3600)\n"
    done = client.submit(project.test(body), *RAW)
    assert done.stdout == b"before"
    assert_no_result(client, done, 124, "timed_out", "time_limit")
    assert "CI_JOB_TIMEOUT_SECONDS" in done.stderr
    assert_nothing_left(installation, done.job_id)


def test_a_test_that_ignores_every_signal_past_the_time_limit(
    hurried: tuple[Installation, Client], project: ProjectMaker
) -> None:
    installation, client = hurried
    body = """
        import signal, time

        def test_it():
            for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
            while True:
                time.sleep(1)
        """
    done = client.submit(project.test(body), *RAW)
    assert_no_result(client, done, 124, "timed_out", "time_limit")
    assert_nothing_left(installation, done.job_id)


def test_a_fork_bomb(hurried: tuple[Installation, Client], project: ProjectMaker) -> None:
    installation, client = hurried
    # Of shells: as many Pythons would meet the memory limit first.
    body = """
        import subprocess, time

        def test_it():
            subprocess.Popen(["sh", "-c", "bomb() { bomb | bomb & }; bomb"], stderr=subprocess.DEVNULL)
            while True:
                time.sleep(3600)
        """
    done = client.submit(project.test(body), *RAW)
    assert_no_result(client, done, 124, "timed_out", "time_limit")
    assert_nothing_left(installation, done.job_id)


def test_the_process_limit(narrow: Installation, user: Client, project: ProjectMaker) -> None:
    body = """
        import os, subprocess, pytest

        def test_it():
            children = []
            with pytest.raises(OSError) as caught:
                for _ in range(200):
                    children.append(subprocess.Popen(["sleep", "3600"], start_new_session=True))
            assert caught.value.errno == 11
            assert 80 < len(children) < 100
            os.write(1, b"no more\\n")
        """
    done = user.submit(project.test(body), *RAW)
    assert_ended(user, done, 0, b"no more\n")
    assert_nothing_left(narrow, done.job_id)


def test_memory_over_the_limit(narrow: Installation, user: Client, project: ProjectMaker) -> None:
    body = """
        import os

        def test_it():
            os.write(1, b"before\\n")
            hoard = [bytearray(b"x" * (1 << 20)) for _ in range(1000)]
        """
    done = user.submit(project.test(body), *RAW)
    assert done.stdout == b"before\n"
    assert_no_result(user, done, 137, "out_of_memory", "memory_limit")
    assert "memory" in done.stderr
    assert_nothing_left(narrow, done.job_id)


def test_a_child_killed_for_memory_is_told_and_no_more(user: Client, project: ProjectMaker) -> None:
    body = """
        import subprocess, sys

        def test_it():
            code = "x = [bytearray(b'x' * (1 << 20)) for _ in range(1000)]"
            assert subprocess.run([sys.executable, "-c", code]).returncode == -9
        """
    done = user.submit(project.test(body), *RAW)
    assert_ended(user, done, 0, b"")
    assert "memory" in done.stderr


def test_a_log_without_end(narrow: Installation, user: Client, project: ProjectMaker) -> None:
    body = "import os\n\ndef test_it():\n    while True:\n        os.write(1, b'x' * 99 + b'\\n')\n"
    done = user.submit(project.test(body), *RAW)
    line = b"x" * 99 + b"\n"
    assert done.stdout == (line * (LOG_LIMIT_BYTES // 100))[:LOG_LIMIT_BYTES]
    assert_no_result(user, done, 65, "error", "log_limit")
    assert "CI_MAX_LOG_BYTES" in done.stderr
    assert_nothing_left(narrow, done.job_id)


@pytest.mark.parametrize("place", ["/tmp", "/workspace", "/home/ci", "/dev/shm"])
def test_a_full_disk(narrow: Installation, user: Client, project: ProjectMaker, place: str) -> None:
    body = f"""
        import pathlib, time

        def test_it():
            with pathlib.Path("{place}/big").open("wb") as file:
                for _ in range(150):
                    file.write(bytes(1 << 20))
                    file.flush()
            time.sleep(3600)
        """
    if place == "/dev/shm":
        # A file system of 64 MB in memory: its own bound is the clear failure.
        body = body.replace("time.sleep(3600)", "").replace("150", "70")
        done = user.submit(project.test(body), *RAW)
        assert done.exit_code in {1, 65, 137}, done
    else:
        done = user.submit(project.test(body), *RAW)
        assert_no_result(user, done, 65, "error", "disk_limit")
        assert "CI_JOB_DISK" in done.stderr
    assert_nothing_left(narrow, done.job_id)
