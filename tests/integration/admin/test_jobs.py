"""`ci-admin job …` as a process, on jobs that a server has stored."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from ci_common.api_keys import new_key
from ci_common.clock import utc_now
from ci_common.ids import JobId, new_job_id
from ci_common.models import Job, Submission, SubmitOptions
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.admin.admin_command import AdminCommand

Result = TypeVar("Result")


def _in_database(admin: AdminCommand, work: Callable[[SQLiteJobRepository], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        repository = SQLiteJobRepository(admin.db_path)
        await repository.initialize()
        try:
            return await work(repository)
        finally:
            await repository.close()

    return asyncio.run(run())


def _publish_nothing() -> None:
    """The jobs here have no bundle."""


def _submit(admin: AdminCommand, email: str, *job_ids: JobId) -> list[JobId]:
    """As many jobs as there are ids, for a new user."""

    async def submit(repository: SQLiteJobRepository) -> None:
        user = await repository.create_user(email.split("@", maxsplit=1)[0], email)
        made = new_key()
        key = await repository.create_key(user.id, "key", made.prefix, made.digest, None)
        for job_id in job_ids:
            submission = Submission(job_id, user.id, key.id, SubmitOptions(), 1234, utc_now())
            await repository.submit(submission, _publish_nothing)

    _in_database(admin, submit)
    return list(job_ids)


def _job(admin: AdminCommand, job_id: JobId) -> Job:
    return _in_database(admin, lambda repository: repository.get_job(job_id))


def test_everybodys_jobs_newest_first_with_their_owners(admin: AdminCommand) -> None:
    first = _submit(admin, "ada@example.com", new_job_id(), new_job_id())
    second = _submit(admin, "grace@example.com", new_job_id())
    found = admin.objects("job", "list")
    assert [each["job_id"] for each in found] == [*second, *reversed(first)]
    assert [each["user_email"] for each in found] == ["grace@example.com", *["ada@example.com"] * 2]
    assert {each["status"] for each in found} == {"queued"}
    assert {each["success"] for each in found} == {None}
    lines = admin.out("job", "list").splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*second, *reversed(first)]


def test_a_list_that_is_cut_says_so_on_stderr(admin: AdminCommand) -> None:
    _submit(admin, "ada@example.com", *[new_job_id() for _ in range(3)])
    short = admin.run("job", "list", "--limit", "2")
    assert len(short.stdout.splitlines()) == 1 + 2
    assert "more than 2" in short.stderr
    whole = admin.run("job", "list", "--limit", "3")
    assert len(whole.stdout.splitlines()) == 1 + 3
    assert whole.stderr == ""


def test_jobs_of_one_status(admin: AdminCommand) -> None:
    kept, ended = _submit(admin, "ada@example.com", new_job_id(), new_job_id())
    admin.out("job", "cancel", ended)
    assert [each["job_id"] for each in admin.objects("job", "list", "--status", "queued")] == [kept]
    (done,) = admin.objects("job", "list", "--status", "completed")
    assert (done["outcome"], done["success"], done["reason"]) == ("cancelled", False, "cancelled_by_admin")


@pytest.mark.parametrize("length", [8, 36])
def test_cancel_by_id_or_prefix(admin: AdminCommand, length: int) -> None:
    (job_id,) = _submit(admin, "ada@example.com", new_job_id())
    assert admin.out("job", "cancel", job_id[:length]) == f"Job {job_id} is cancelled\n"
    assert _job(admin, job_id).outcome == "cancelled"
    assert "already completed" in admin.out("job", "cancel", job_id)


def test_an_ambiguous_prefix_cancels_nothing(admin: AdminCommand) -> None:
    ids = [JobId(f"abcdabcd-0000-4000-8000-00000000000{number}") for number in range(2)]
    _submit(admin, "ada@example.com", *ids)
    done = admin.run("job", "cancel", "abcdabcd")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "several jobs" in done.stderr
    assert {_job(admin, job_id).status for job_id in ids} == {"queued"}


@pytest.mark.parametrize("job", ["abc", "not-a-job", "abcdabcd"])
def test_no_such_job(admin: AdminCommand, job: str) -> None:
    assert admin.run("job", "cancel", job).exit_code == 1


def test_deactivating_a_user_cancels_the_users_jobs_alone(admin: AdminCommand) -> None:
    (cancelled,) = _submit(admin, "ada@example.com", new_job_id())
    (kept,) = _submit(admin, "grace@example.com", new_job_id())
    admin.out("user", "deactivate", "--email", "ada@example.com")
    assert _job(admin, cancelled).outcome == "cancelled"
    assert _job(admin, cancelled).reason == "user_deactivated"
    assert _job(admin, kept).status == "queued"


def test_revoking_a_key_leaves_its_jobs(admin: AdminCommand) -> None:
    (job_id,) = _submit(admin, "ada@example.com", new_job_id())
    (key,) = admin.objects("key", "list")
    admin.out("key", "revoke", str(key["id"]))
    assert _job(admin, job_id).status == "queued"
