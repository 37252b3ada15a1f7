"""`ci cancel`: one final state, never success, nothing left behind."""

from tests.e2e.conditions import eventually
from tests.e2e.installation import Client, Installation
from tests.e2e.projects import RAW, ProjectMaker

SLEEPING = "import os, time\n\ndef test_it():\n    os.write(1, b'asleep\\n')\n    time.sleep(3600)\n"


def assert_cancelled(installation: Installation, client: Client, job_id: str) -> None:
    job = client.wait_until(job_id, "completed")
    assert (job["outcome"], job["reason"]) == ("cancelled", "cancelled_by_user")
    assert (job["success"], job["exit_code"]) == (False, None)
    done = client.run("wait", job_id, "--all")
    assert done.exit_code == 130
    assert "cancelled" in done.stderr
    eventually(lambda: not installation.engine.containers(job_id), "its container to go")


def test_a_running_job(installation: Installation, client: Client, project: ProjectMaker) -> None:
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(SLEEPING))
    running.stdout.wait_for(b"asleep\n")
    job_id = str(client.jobs(1)[0]["job_id"])
    assert client.run("cancel", job_id).exit_code == 0
    done = running.finish()
    assert (done.exit_code, done.stdout) == (130, b"asleep\n")
    assert_cancelled(installation, client, job_id)


def test_a_queued_job_never_starts(installation: Installation, client: Client, project: ProjectMaker) -> None:
    blockers = [client.submit_async(project.test(SLEEPING), *RAW) for _ in range(3)]
    job_id = client.submit_async(project.test(SLEEPING), *RAW)
    assert client.job(job_id)["status"] == "queued"
    assert client.run("cancel", job_id).exit_code == 0
    assert_cancelled(installation, client, job_id)
    job = client.job(job_id)
    assert job["start_time"] is None
    assert client.run("logs", job_id).stdout == b""
    for blocker in blockers:
        assert client.run("cancel", blocker).exit_code == 0
    for blocker in blockers:
        assert_cancelled(installation, client, blocker)


def test_a_test_that_traps_sigterm_gets_time_and_then_none(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    body = """
        import os, signal, time

        def test_it():
            signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"not yet\\n"))
            os.write(1, b"asleep\\n")
            while True:
                time.sleep(3600)
        """
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(body))
    running.stdout.wait_for(b"asleep\n")
    job_id = str(client.jobs(1)[0]["job_id"])
    assert client.run("cancel", job_id).exit_code == 0
    done = running.finish()
    assert (done.exit_code, done.stdout) == (130, b"asleep\nnot yet\n")
    assert_cancelled(installation, client, job_id)


def test_a_test_that_cleans_up_on_sigterm(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    body = """
        import os, signal, sys, time

        def leave(*_):
            os.write(1, b"cleaned up\\n")
            os._exit(0)

        def test_it():
            signal.signal(signal.SIGTERM, leave)
            os.write(1, b"asleep\\n")
            while True:
                time.sleep(3600)
        """
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(body))
    running.stdout.wait_for(b"asleep\n")
    job_id = str(client.jobs(1)[0]["job_id"])
    assert client.run("cancel", job_id).exit_code == 0
    done = running.finish()
    assert (done.exit_code, done.stdout) == (130, b"asleep\ncleaned up\n")
    assert_cancelled(installation, client, job_id)


def test_a_completed_job_stays_as_it_is(client: Client, project: ProjectMaker) -> None:
    done = client.submit(project.test("def test_it(): pass\n"), *RAW)
    before = client.job(done.job_id)
    cancelled = client.run("cancel", done.job_id)
    assert cancelled.exit_code == 0
    assert "passed" in cancelled.stdout.decode() + cancelled.stderr
    assert client.job(done.job_id) == before


def test_jobs_that_end_while_they_are_cancelled_have_one_end(client: Client, project: ProjectMaker) -> None:
    made = project.test("def test_it(): pass\n")
    for _ in range(5):
        job_id = client.submit_async(made, *RAW)
        eventually(lambda job_id=job_id: client.job(job_id)["status"] != "queued", "it to start")
        assert client.run("cancel", job_id).exit_code == 0
        job = client.wait_until(job_id, "completed")
        assert job["outcome"] in {"cancelled", "passed"}
        code = client.run("wait", job_id, "--all").exit_code
        assert code == (0 if job["outcome"] == "passed" else 130)
        assert client.job(job_id) == job


def test_an_administrator_cancels_anybodys_job(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    job_id = client.submit_async(project.test(SLEEPING), *RAW)
    client.wait_until(job_id, "running")
    installation.admin("job", "cancel", job_id)
    job = client.wait_until(job_id, "completed")
    assert (job["outcome"], job["reason"]) == ("cancelled", "cancelled_by_admin")


def test_deactivating_a_user_cancels_their_jobs(installation: Installation, project: ProjectMaker) -> None:
    client = installation.new_client("dave")
    job_id = client.submit_async(project.test(SLEEPING), *RAW)
    installation.admin("user", "deactivate", client.user.id)
    assert client.run("status", job_id).exit_code == 77
    installation.admin("user", "activate", client.user.id)
    job = client.wait_until(job_id, "completed")
    assert (job["outcome"], job["reason"]) == ("cancelled", "user_deactivated")
    eventually(lambda: not installation.engine.containers(job_id), "its containers to go")
