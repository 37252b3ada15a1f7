"""A container that somebody else ends is the machine's fault: the job starts over, twice at most."""

from collections.abc import Callable

import pytest
from docker.models.containers import Container

from tests.e2e.conditions import eventually
from tests.e2e.installation import Client, Installation
from tests.e2e.processes import Running
from tests.e2e.projects import RAW, ProjectMaker

ATTEMPT = """
    import os, pathlib, time

    def test_it():
        os.write(1, b"begun\\n")
        while not pathlib.Path("/tmp/released").exists():
            time.sleep(0.02)
        os.write(1, b"done\\n")
    """


def running_container(installation: Installation, job_id: str, attempt: int) -> Container:
    """The container of this attempt of the job, its test begun."""
    suffix = f"-{attempt}" if attempt > 1 else ""
    name = f"{installation.prefix}{job_id}{suffix}"

    def look() -> Container | None:
        found = installation.engine.testing(job_id)
        return found if found is not None and found.name == name else None

    return eventually(look, f"container {name}")


def submitted(client: Client, project: ProjectMaker) -> tuple[Running, str]:
    """A job whose test has begun."""
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(ATTEMPT))
    running.stdout.wait_for(b"begun\n")
    return running, str(client.jobs(1)[0]["job_id"])


def release(container: Container) -> None:
    """Let the test end."""
    code, output = container.exec_run(["touch", "/tmp/released"])
    assert code == 0, output


def remove(container: Container) -> None:
    container.remove(force=True)


def kill(container: Container) -> None:
    container.kill()


def stop(container: Container) -> None:
    container.stop(timeout=60)


def pause(container: Container) -> None:
    container.pause()


@pytest.mark.parametrize("lose", [remove, kill, stop, pause], ids=["removed", "killed", "stopped", "paused"])
def test_the_job_starts_over(
    installation: Installation, client: Client, project: ProjectMaker, lose: Callable[[Container], None]
) -> None:
    running, job_id = submitted(client, project)
    lose(running_container(installation, job_id, 1))
    running.stdout.wait_for(b"begun\nbegun\n")
    release(running_container(installation, job_id, 2))
    done = running.finish()
    assert (done.exit_code, done.stdout) == (0, b"begun\nbegun\ndone\n")
    assert "attempt 1 of 3" in done.stderr
    job = client.job(job_id)
    assert (job["outcome"], job["attempt"]) == ("passed", 2)


def test_a_job_that_is_lost_each_time_ends_as_lost(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    running, job_id = submitted(client, project)
    for attempt in (1, 2, 3):
        running.stdout.wait_for(b"begun\n" * attempt)
        remove(running_container(installation, job_id, attempt))
    done = running.finish()
    assert (done.exit_code, done.stdout) == (75, b"begun\n" * 3)
    job = client.job(job_id)
    assert (job["outcome"], job["reason"], job["success"]) == ("lost", "infrastructure", False)
    assert (job["exit_code"], job["attempt"]) == (None, 3)
