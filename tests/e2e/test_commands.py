"""The commands of `ci` beside submitting: looking, waiting, and saying what is wrong."""

import json
import re

import pytest

from tests.e2e.installation import Client, Installation, free_port
from tests.e2e.projects import RAW, ProjectMaker, counted, counting

EVERY_JOB = {
    "received", "uploaded", "checked", "stored", "admitted", "planned", "bound", "feeding_began", "fed",
    "tests_began", "first_output", "tests_ended", "result_seen", "completed",
}  # fmt: skip
INSTALLATION = {"install_began", "install_ended"}
NO_SUCH_JOB = "00000000-0000-4000-8000-000000000000"
ISO_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)")


def test_async_and_wait(client: Client, project: ProjectMaker) -> None:
    job_id = client.submit_async(project.test(counting(50, 0.01)), *RAW)
    done = client.run("wait", job_id, "--all")
    assert (done.exit_code, done.stdout) == (0, counted(50))


def test_wait_shows_new_output_alone(client: Client, project: ProjectMaker) -> None:
    job_id = client.submit_async(project.test(counting(300, 0.01)), *RAW)
    whole = client.start("wait", job_id, "--all")
    whole.stdout.wait_for(b"line 20\n")
    rest = client.run("wait", job_id)
    assert rest.exit_code == 0
    assert rest.stdout
    assert counted(300).endswith(rest.stdout)
    assert not rest.stdout.startswith(b"line 0\n")
    assert whole.finish().stdout == counted(300)


def test_a_job_tells_where_its_time_went(installation: Installation, project: ProjectMaker) -> None:
    client = installation.new_client("tim")
    made = project.test("def test_it(): pass\n")

    def timing() -> dict[str, str]:
        done = client.submit(made, flags=("--timing",))
        assert "\nPHASE " in done.stderr
        shown = client.run("status", done.job_id, "--timing", "--json")
        found: dict[str, str] = json.loads(shown.stdout)["timing"]
        return found

    first, second = timing(), timing()
    assert set(first) >= EVERY_JOB | INSTALLATION
    assert set(second) >= EVERY_JOB
    assert not INSTALLATION & set(second)
    controllers = [name for name in second if name in ("admitted", "planned", "bound", "fed", "result_seen")]
    assert controllers == ["admitted", "planned", "bound", "fed", "result_seen"]


def test_wait_for_a_completed_job(client: Client, project: ProjectMaker) -> None:
    done = client.submit(project.test("def test_it(): assert False\n"), *RAW)
    waited = client.run("wait", done.job_id)
    assert waited.exit_code == done.exit_code == 1
    assert waited.stdout == b""
    assert "Job already completed" in waited.stderr


def test_list_and_status(installation: Installation, project: ProjectMaker) -> None:
    client = installation.new_client("lisa")
    assert client.jobs() == []
    passed = client.submit(project.test("def test_it(): pass\n"), *RAW).job_id
    failed = client.submit(project.test("def test_it(): assert False\n"), *RAW).job_id
    running = client.submit_async(project.test("import time\n\ndef test_it():\n    time.sleep(3600)\n"), *RAW)
    client.wait_until(running, "running")

    found = client.jobs()
    assert [job["job_id"] for job in found] == [running, failed, passed]
    assert [job["status"] for job in found] == ["running", "completed", "completed"]
    assert [job["success"] for job in found] == [None, False, True]
    assert [job["outcome"] for job in found] == [None, "failed", "passed"]
    assert [job["exit_code"] for job in found] == [None, 1, 0]
    assert [job["job_id"] for job in client.jobs(2)] == [running, failed]
    for job in found[1:]:
        for name in ("submit_time", "start_time", "end_time"):
            assert ISO_UTC.fullmatch(str(job[name])), job

    limited = client.run("list", "--limit", "1")
    assert "more" in limited.stderr
    completed = client.run("list", "--status", "completed", "--json")
    assert [job["job_id"] for job in json.loads(completed.stdout)] == [failed, passed]

    table = client.run("list").stdout.decode().splitlines()
    for column in ("JOB ID", "STATUS", "SUCCESS", "START TIME", "END TIME"):
        assert column in table[0]
    for job_id, mark in ((running, "-"), (failed, "✗"), (passed, "✓")):
        (row,) = [line for line in table if job_id in line]
        assert mark in row.replace(job_id, "").split()

    described = client.run("status", failed, "--json")
    assert json.loads(described.stdout) == client.job(failed)
    assert client.run("logs", failed).stdout == client.log(failed)
    shown = client.run("status", passed)
    assert shown.exit_code == 0
    assert passed in shown.stdout.decode()
    assert client.job(passed[:13])["job_id"] == passed
    client.run("cancel", running)


def test_other_peoples_jobs_are_not_there(
    installation: Installation, client: Client, project: ProjectMaker
) -> None:
    job_id = client.submit(project.test("def test_it(): pass\n"), *RAW).job_id
    stranger = installation.new_client("stranger")
    assert stranger.jobs() == []
    for command in ("status", "logs", "cancel", "wait"):
        for name in (job_id, job_id[:13], NO_SUCH_JOB):
            done = stranger.run(command, name)
            assert done.exit_code == 66, (command, name, done)
            assert done.stdout == b""
            assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit", "test", "no-such-folder"),
        ("submit", "test", "--no-such-flag"),
        ("list", "--status", "sleeping"),
        ("list", "--limit", "0"),
        ("frobnicate",),
    ],
)
def test_bad_use(client: Client, arguments: tuple[str, ...]) -> None:
    done = client.run(*arguments)
    assert (done.exit_code, done.stdout) == (64, b"")
    assert done.stderr


@pytest.mark.parametrize("requirements", [None, "", "# pytest\n", "requests\n"])
def test_a_project_that_certainly_can_not_be_tested(
    client: Client, project: ProjectMaker, requirements: str | None
) -> None:
    before = client.jobs()
    made = project({"tests/test_it.py": "def test_it(): pass\n"}, requirements=requirements)
    done = client.run("submit", "test", cwd=made)
    assert (done.exit_code, done.stdout) == (64, b"")
    assert "requirements.txt" in done.stderr
    assert client.jobs() == before


@pytest.mark.parametrize("key", ["", "ci_wrong", "ci_" + "A" * 43, "nonsense"])
def test_a_wrong_key(client: Client, project: ProjectMaker, key: str) -> None:
    for arguments in (("list",), ("submit", "test")):
        done = client.run(*arguments, cwd=project.test("def test_it(): pass\n"), CI_API_KEY=key)
        assert (done.exit_code, done.stdout) == (77, b""), done
        for words in ("--api-key", "CI_API_KEY"):
            assert words in done.stderr


def test_a_revoked_key_leaves_the_jobs_running(installation: Installation, project: ProjectMaker) -> None:
    client = installation.new_client("rita")
    job_id = client.submit_async(project.test(counting(100, 0.01)), *RAW)
    keys = json.loads(installation.admin("key", "list", "--email", client.user.email, "--json"))
    installation.admin("key", "revoke", keys[0]["id"])
    assert client.run("status", job_id).exit_code == 77
    printed = installation.admin("key", "create", "--name", "new", "--email", client.user.email)
    (key,) = re.findall(r"^API Key: (ci_\S+)$", printed, re.MULTILINE)
    done = client.run("wait", job_id, "--all", CI_API_KEY=key)
    assert (done.exit_code, done.stdout) == (0, counted(100))


def test_a_key_that_is_revoked_ends_open_streams(installation: Installation, project: ProjectMaker) -> None:
    client = installation.new_client("rosa")
    body = "import os, time\n\ndef test_it():\n    os.write(1, b'here\\n')\n    time.sleep(3600)\n"
    running = client.start("submit", "test", "--", *RAW, cwd=project.test(body))
    running.stdout.wait_for(b"here\n")
    keys = json.loads(installation.admin("key", "list", "--email", client.user.email, "--json"))
    installation.admin("key", "revoke", keys[0]["id"])
    assert running.finish().exit_code == 77
    installation.admin("user", "deactivate", client.user.id)


def test_no_server_before_there_is_a_job(client: Client, project: ProjectMaker) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    for arguments in (("list",), ("status", NO_SUCH_JOB)):
        done = client.run(*arguments, CI_API_URL=nowhere)
        assert (done.exit_code, done.stdout) == (69, b""), done
        assert nowhere in done.stderr


def test_the_flag_wins_over_the_environment_and_that_over_the_file(
    client: Client, project: ProjectMaker
) -> None:
    config = (
        project({"config": f"api_key={client.user.key}\nserver={client.environ['CI_API_URL']}\n"}) / "config"
    )
    url = client.environ["CI_API_URL"]
    assert client.run("list", CI_CONFIG=str(config), CI_API_KEY="", CI_API_URL="").exit_code == 0
    assert client.run("list", CI_CONFIG=str(config), CI_API_KEY="ci_wrong").exit_code == 77
    assert client.run("list", "--api-key", client.user.key, CI_API_KEY="ci_wrong").exit_code == 0
    assert client.run("list", CI_SERVER_URL=url, CI_API_URL="").exit_code == 0


def test_output_can_be_redirected_to_a_file(client: Client, project: ProjectMaker) -> None:
    made = project.writing(b"exactly \xff this\0")
    path = made.parent / "log"
    with path.open("wb") as file:
        _, exit_code = client.submit_into(file, made, *RAW)
    assert exit_code == 0
    assert path.read_bytes() == "exactly \ufffd this\0".encode()


def test_the_administrators_view(installation: Installation, client: Client, project: ProjectMaker) -> None:
    job_id = client.submit(project.test("def test_it(): pass\n"), *RAW).job_id
    jobs = json.loads(installation.admin("job", "list", "--json"))
    assert job_id in {job["job_id"] for job in jobs}
    assert installation.admin("status")
    images = json.loads(installation.admin("image", "list", "--json"))
    assert images
    for image in images:
        assert set(image) >= {"name", "python", "created_at", "size_bytes"}
        assert image["name"].startswith("ci-python:")
    duplicate = installation.run_admin("user", "create", "--name", "x", "--email", client.user.email)
    assert duplicate.exit_code == 1
    assert "already exists" in duplicate.stderr
    assert installation.run_admin("user", "create").exit_code == 2
    assert installation.run_admin("gc").exit_code == 0
