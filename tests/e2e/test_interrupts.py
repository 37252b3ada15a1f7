"""Ctrl-C and its kin: in `ci submit test` they end the job, in `ci wait` only the waiting."""

import os
import signal

from tests.e2e.balancer import Balancer
from tests.e2e.checks import assert_ended
from tests.e2e.conditions import PATIENCE_SECONDS, eventually
from tests.e2e.installation import Client, Installation, Submitted, job_id_in
from tests.e2e.processes import Running
from tests.e2e.projects import RAW, ProjectMaker, counted, counting

SLEEPING = "import os, time\n\ndef test_it():\n    os.write(1, b'asleep\\n')\n    time.sleep(3600)\n"


def start_sleeping(client: Client, project: ProjectMaker) -> tuple[Running, str]:
    """`ci submit test` whose tests have begun and won't end."""
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(SLEEPING))
    running.stdout.wait_for(b"asleep\n")
    return running, job_id_in(running.stderr.seen().decode())


def assert_cancelled(installation: Installation, client: Client, job_id: str) -> None:
    job = client.wait_until(job_id, "completed")
    assert (job["outcome"], job["success"], job["exit_code"]) == ("cancelled", False, None)
    eventually(lambda: not installation.engine.containers(job_id), "its container to go")


def test_ctrl_c_in_submit_cancels(installation: Installation, client: Client, project: ProjectMaker) -> None:
    running, job_id = start_sleeping(client, project)
    running.send(signal.SIGINT)
    done = running.finish()
    assert done.exit_code == 130
    assert done.stdout == b"asleep\n"
    assert "cancelled" in done.stderr
    assert_cancelled(installation, client, job_id)


def test_sigterm_in_submit_cancels(installation: Installation, client: Client, project: ProjectMaker) -> None:
    running, job_id = start_sleeping(client, project)
    running.send(signal.SIGTERM)
    done = running.finish()
    assert done.exit_code == 143
    assert "cancelled" in done.stderr
    assert_cancelled(installation, client, job_id)


def test_ctrl_c_of_a_job_that_waits_in_the_queue(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    blockers = [client.submit_async(project.test(SLEEPING), *RAW) for _ in range(3)]
    for blocker in blockers:
        client.wait_until(blocker, "running")
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(SLEEPING))
    running.stderr.wait_for(b"Job ID: ")
    job_id = job_id_in(running.stderr.seen().decode())
    running.send(signal.SIGINT)
    done = running.finish()
    assert (done.exit_code, done.stdout) == (130, b"")
    for blocker in blockers:
        assert client.run("cancel", blocker).exit_code == 0
    assert_cancelled(installation, client, job_id)
    for blocker in blockers:
        assert_cancelled(installation, client, blocker)


def test_a_closed_pipe_leaves_the_job_running(client: Client, project: ProjectMaker) -> None:
    made = project.test(counting(200, 0.01))
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as stdout:
        job_id, exit_code = client.submit_into(stdout, made, *RAW)
    assert exit_code != 0
    done = client.run("wait", job_id, "--all")
    assert (done.exit_code, done.stdout) == (0, counted(200))


def test_a_closed_terminal_leaves_the_job_running(client: Client, project: ProjectMaker) -> None:
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(counting(100, 0.01)))
    running.stdout.wait_for(b"line 0\n")
    job_id = job_id_in(running.stderr.seen().decode())
    running.send(signal.SIGHUP)
    assert running.finish().exit_code != 0
    done = client.run("wait", job_id, "--all")
    assert (done.exit_code, done.stdout) == (0, counted(100))


def test_ctrl_c_in_wait_leaves_the_job_running(client: Client, project: ProjectMaker) -> None:
    job_id = client.submit_async(project.test(counting(200, 0.01)), *RAW)
    waiting = client.start("wait", job_id, "--all")
    waiting.stdout.wait_for(b"line 3\n")
    waiting.send(signal.SIGINT)
    stopped = waiting.finish()
    assert stopped.exit_code == 130
    for words in ("Stopped waiting", "continues to run", f"ci wait {job_id}"):
        assert words in stopped.stderr
    done = client.run("wait", job_id, "--all")
    assert_ended(client, Submitted(job_id, done), 0, counted(200))


def test_a_second_ctrl_c_leaves_at_once(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    body = """
        import os, signal, time

        def test_it():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(1, b"asleep\\n")
            time.sleep(3600)
        """
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(body))
    running.stdout.wait_for(b"asleep\n")
    job_id = job_id_in(running.stderr.seen().decode())
    running.send(signal.SIGINT)
    eventually(lambda: "cancel" in running.stderr.seen().decode(), "the first Ctrl-C to be taken")
    running.send(signal.SIGINT)
    assert running.finish().exit_code == 130
    assert_cancelled(installation, client, job_id)


def test_ctrl_c_while_the_files_are_being_sent(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    balancer = Balancer([installation.url], hold_after_bytes=1 << 20)
    made = project.test(SLEEPING)
    (made / "big").write_bytes(os.urandom(8 << 20))
    before = client.jobs()
    slow = installation.client(client.user, balancer.url)
    running = slow.start("submit", "test", "--", *RAW, cwd=made)
    assert balancer.held.wait(PATIENCE_SECONDS)
    running.send(signal.SIGINT)
    done = running.finish()
    assert (done.exit_code, done.stdout) == (130, b"")
    assert "cancelled" in done.stderr
    balancer.close()
    assert [job for job in client.jobs() if job["status"] != "completed"] == []
    assert {job["outcome"] for job in client.jobs() if job not in before} <= {"cancelled"}
