"""What every followed job has in common, asserted in one place."""

from tests.e2e.installation import Client, Submitted


def assert_ended(client: Client, done: Submitted, exit_code: int, output: bytes | None = None) -> None:
    """The job ended so, and all ways to look at it agree to the byte.

    `exit_code` is that of the tests' process. `output`: what it printed, where that is known exactly.
    """
    assert done.exit_code == exit_code, done
    if output is not None:
        assert done.stdout == output
    outcome = "passed" if exit_code == 0 else "failed"
    job = client.job(done.job_id)
    assert (job["status"], job["outcome"], job["exit_code"]) == ("completed", outcome, exit_code)
    assert job["success"] is (exit_code == 0)
    assert job["attempt"] == 1
    assert client.log(done.job_id) == done.stdout
    again = client.run("wait", done.job_id, "--all")
    assert (again.exit_code, again.stdout) == (exit_code, done.stdout)


def assert_no_result(client: Client, done: Submitted, exit_code: int, outcome: str, reason: str) -> None:
    """The job ended without a result of its tests, for that reason, which one line on stderr explains."""
    assert done.exit_code == exit_code, done
    job = client.job(done.job_id)
    found = (job["status"], job["outcome"], job["reason"], job["success"])
    assert found == ("completed", outcome, reason, False)
    assert job["exit_code"] is None
    assert client.log(done.job_id) == done.stdout
    assert client.run("wait", done.job_id, "--all").exit_code == exit_code
