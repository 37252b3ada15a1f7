import uuid
from datetime import datetime, timedelta

import httpx
import pytest

from ci_common.api_keys import new_key
from ci_common.clock import utc_now
from ci_common.ids import JobId
from ci_common.models import Outcome, Reason, Verdict
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.serving import Account, Driver, form, new_account


async def submitted(client: httpx.AsyncClient, account: Account, job_id: str | None = None) -> JobId:
    headers = {**account.headers, "Idempotency-Key": job_id or str(uuid.uuid4())}
    answer = await client.post("/submit-async", headers=headers, **form())
    assert answer.status_code == 202, answer.text
    return JobId(answer.json()["job_id"])


async def test_a_job_has_the_fields_of_the_interface(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await submitted(client, account)
    job = (await client.get(f"/jobs/{job_id}", headers=account.headers)).json()
    assert job["job_id"] == job_id
    assert job["status"] == "queued"
    assert datetime.fromisoformat(job["submit_time"]).utcoffset() == timedelta(0)
    nothing = ("success", "outcome", "reason", "exit_code", "start_time", "end_time")
    assert {job[name] for name in nothing} == {None}
    assert job["attempt"] == 1
    await driver.start(job_id)
    await driver.repository.complete(
        driver.fence, job_id, Verdict(Outcome.ERROR, exit_code=None, reason=Reason.INSTALL_FAILED)
    )
    job = (await client.get(f"/jobs/{job_id}", headers=account.headers)).json()
    assert (job["status"], job["success"], job["outcome"]) == ("completed", False, "error")
    assert job["reason"] == "install_failed"
    assert job["start_time"] <= job["end_time"]


async def test_phases_are_told_of_one_job_to_whoever_asks(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await submitted(client, account)
    await driver.start(job_id)
    await driver.repository.complete(driver.fence, job_id, Verdict(Outcome.PASSED, exit_code=0))
    plain = (await client.get(f"/jobs/{job_id}", headers=account.headers)).json()
    timed = (await client.get(f"/jobs/{job_id}?timing=true", headers=account.headers)).json()
    timing = timed.pop("timing")
    assert timed == plain
    assert list(timing) == ["received", "uploaded", "checked", "stored", "completed"]
    assert list(timing.values()) == sorted(timing.values())
    assert timing["completed"] == plain["end_time"]
    for where in ("", f"/{job_id}", f"/{job_id}?timing=false"):
        assert "timing" not in (await client.get(f"/jobs{where}", headers=account.headers)).text
    assert "timing" not in (await client.post(f"/jobs/{job_id}/cancel", headers=account.headers)).text


async def test_jobs_are_listed_newest_first_in_pages(client: httpx.AsyncClient, account: Account) -> None:
    made = [await submitted(client, account) for _ in range(5)]
    newest_first = list(reversed(made))

    async def page(query: str) -> tuple[list[str], bool]:
        answer = await client.get(f"/jobs{query}", headers=account.headers)
        assert answer.status_code == 200, answer.text
        return [job["job_id"] for job in answer.json()], "link" in answer.headers

    assert await page("") == (newest_first, False)
    assert await page("?limit=2") == (newest_first[:2], True)
    assert await page(f"?limit=2&before={newest_first[1]}") == (newest_first[2:4], True)
    assert await page(f"?limit=2&before={newest_first[3]}") == (newest_first[4:], False)
    assert await page("?status=queued&limit=5") == (newest_first, False)
    assert await page("?status=running") == ([], False)
    first = await client.get("/jobs?limit=2&status=queued", headers=account.headers)
    following = first.links["next"]["url"]
    assert await page(following) == (newest_first[2:4], True)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "status=done"])
async def test_a_list_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, account: Account, query: str
) -> None:
    answer = await client.get(f"/jobs?{query}", headers=account.headers)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(query.partition("=")[0])


async def test_a_prefix_names_a_job_if_only_one_begins_so(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    stem = uuid.uuid4().hex[:8]
    first = await submitted(client, account, f"{stem}-1111-4111-8111-111111111111")
    second = await submitted(client, account, f"{stem}-1112-4111-8111-111111111111")
    other = await new_account(repository, "bob")
    await submitted(client, other, f"{stem}-1113-4111-8111-111111111111")

    async def found(text: str) -> tuple[int, object]:
        answer = await client.get(f"/jobs/{text}", headers=account.headers)
        return answer.status_code, answer.json().get("job_id")

    assert await found(f"{stem}-1111") == (200, first)
    assert await found(f"{stem}-1112".upper()) == (200, second)
    assert await found(stem) == (409, None)
    assert await found(f"{stem}-1113") == (404, None)


async def test_other_users_jobs_do_not_exist(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    job_id = await submitted(client, account)
    other = await new_account(repository, "bob")
    for method, path in (
        ("GET", ""),
        ("GET", "/stream"),
        ("GET", "/logs"),
        ("POST", "/cancel"),
    ):
        answer = await client.request(method, f"/jobs/{job_id}{path}", headers=other.headers)
        assert answer.status_code == 404
    assert (await client.get("/jobs", headers=other.headers)).json() == []
    before = await client.get(f"/jobs?before={job_id}", headers=other.headers)
    assert before.status_code == 404
    assert (await repository.get_job(job_id)).cancel_reason is None


@pytest.mark.parametrize(
    "text",
    ["5e884898-da28-4715-a8b8-7f0a1e3a4b5c", "none", "abc", "%00", "ä", "x" * 500, "..%2f..", "0" * 40],
)
async def test_what_names_no_job_is_not_found(client: httpx.AsyncClient, account: Account, text: str) -> None:
    for path in ("", "/stream", "/logs"):
        answer = await client.get(f"/jobs/{text}{path}", headers=account.headers)
        assert answer.status_code == 404
        assert isinstance(answer.json()["detail"], str)


async def test_cancelling_answers_with_the_job_whatever_its_state(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    queued, running = await submitted(client, account), await submitted(client, account)
    await driver.start(running)
    answers = [
        await client.post(f"/jobs/{job_id}/cancel", headers=account.headers)
        for job_id in (queued, queued, running)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    first, again, third = (answer.json() for answer in answers)
    assert first == again
    assert (first["status"], first["outcome"], first["reason"]) == (
        "completed",
        "cancelled",
        "cancelled_by_user",
    )
    assert (third["status"], third["cancel_requested"]) == ("running", True)
    await driver.repository.complete(driver.fence, running, Verdict(Outcome.PASSED, exit_code=0))
    ended = (await client.get(f"/jobs/{running}", headers=account.headers)).json()
    assert (ended["outcome"], ended["success"]) == ("cancelled", False)


UNKNOWN_KEY = "ci_" + "k" * 43
PATHS = [
    ("GET", "/me"),
    ("GET", "/jobs"),
    ("GET", "/jobs/abcd"),
    ("GET", "/jobs/abcd/stream"),
    ("GET", "/jobs/abcd/logs"),
    ("POST", "/jobs/abcd/cancel"),
    ("POST", "/submit"),
    ("POST", "/submit-stream"),
    ("POST", "/submit-async"),
    ("GET", "/openapi.json"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ci_",
        "Bearer x",
        "Basic YTpi",
        f"Bearer {UNKNOWN_KEY}",
        f"Bearer {UNKNOWN_KEY} more",
        "Bearer ci_ä",
    ],
)
async def test_without_a_good_key_there_is_a_401(
    client: httpx.AsyncClient, method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    answer = await client.request(method, path, headers=headers)  # pyright: ignore[reportArgumentType] - httpx sends bytes as they are
    assert answer.status_code == 401
    assert isinstance(answer.json()["detail"], str)
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_me_tells_who_is_calling(client: httpx.AsyncClient, account: Account) -> None:
    me = (await client.get("/me", headers=account.headers)).json()
    assert me["user"]["id"] == account.user_id
    assert me["key"]["name"] == "laptop"
    assert me["limits"]["max_upload_bytes"] == 8 << 30
    assert me["server_version"]
    assert abs(datetime.fromisoformat(me["server_time"]) - utc_now()) < timedelta(minutes=5)
    assert account.key not in str(me)


async def test_the_scheme_is_not_case_sensitive(client: httpx.AsyncClient, account: Account) -> None:
    answer = await client.get("/me", headers={"Authorization": f"bearer  {account.key}"})
    assert answer.status_code == 200


async def test_expired_keys_are_refused(client: httpx.AsyncClient, repository: SQLiteJobRepository) -> None:
    user = await repository.create_user("eve", f"eve-{uuid.uuid4()}@example.org")
    past, future = utc_now() - timedelta(seconds=1), utc_now() + timedelta(hours=1)
    statuses: list[int] = []
    for expiry in (past, future):
        key = new_key()
        await repository.create_key(user.id, "k", key.prefix, key.digest, expiry)
        answer = await client.get("/me", headers={"Authorization": f"Bearer {key.text}"})
        statuses.append(answer.status_code)
    assert statuses == [401, 200]


async def test_the_use_of_a_key_is_recorded(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    await client.get("/me", headers=account.headers)
    while True:
        (stored,) = await repository.list_keys(account.user_id)
        if stored.key.last_used_at is not None:
            break
        await client.get("/health")
    for _ in range(3):
        await client.get("/me", headers=account.headers)
    (later,) = await repository.list_keys(account.user_id)
    assert later.key.last_used_at == stored.key.last_used_at


async def test_unknown_paths_and_methods_answer_in_the_one_form(
    client: httpx.AsyncClient, account: Account
) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("DELETE", "/jobs", 405), ("GET", "/jobs/", 404)):
        answer = await client.request(method, path, headers=account.headers)
        assert answer.status_code == status
        assert isinstance(answer.json()["detail"], str)


async def test_the_interface_is_described(client: httpx.AsyncClient, account: Account) -> None:
    document = (await client.get("/openapi.json", headers=account.headers)).json()
    assert {"/submit", "/jobs", "/jobs/{job_id}/stream", "/me", "/readyz"} <= set(document["paths"])
