import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest

from ci_common.ids import JobId, KeyId
from ci_common.models import SubmitOptions
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.serving import Account, form, new_account, project
from tests.unit.common.raw_zip import RawEntry, RawZip


async def submit(client: httpx.AsyncClient, account: Account, **kwargs: Any) -> httpx.Response:
    headers = {**account.headers, **kwargs.pop("headers", {})}
    return await client.post("/submit-async", headers=headers, **kwargs)


async def test_a_submission_becomes_a_queued_job(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    options = {"pytest_args": ["-q", "x y"], "color": True, "columns": 120, "fresh": True}
    archive = project({"requirements.txt": b"pytest\n", "tests/test_é.py": b"1"})
    answer = await submit(client, account, **form(archive, options))
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    job = await repository.get_job(JobId(answer.json()["job_id"]))
    assert job.options == SubmitOptions(pytest_args=("-q", "x y"), color=True, columns=120, fresh=True)
    assert job.bundle_bytes == len(archive)
    assert job.user_id == account.user_id


async def test_the_bundle_arrives_as_it_was_sent(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository, shared_db: Any
) -> None:
    archive = project({"requirements.txt": b"pytest", "big": uuid.uuid4().bytes * 200_000})
    job_id = (await submit(client, account, **form(archive))).json()["job_id"]
    folder = shared_db.parent / "bundles" / await repository.instance_id()
    assert (folder / f"{job_id}.zip").read_bytes() == archive


@pytest.mark.parametrize(
    "options",
    [
        {"unknown": 1},
        {"pytest_args": "-q"},
        {"pytest_args": [1]},
        {"pytest_args": ["a\0b"]},
        {"pytest_args": ["n" * 200_000]},
        {"color": "yes"},
        {"columns": 0},
        {"columns": 1.5},
        [],
        None,
        "text",
    ],
)
async def test_options_that_make_no_sense_are_refused(
    client: httpx.AsyncClient, account: Account, options: object
) -> None:
    files = {"file": ("p.zip", project()), "options": (None, json.dumps(options))}
    answer = await submit(client, account, files=files)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("options: ")


async def test_the_order_of_the_parts_does_not_matter(client: httpx.AsyncClient, account: Account) -> None:
    files = [("options", (None, '{"fresh": true}')), ("file", ("p.zip", project()))]
    assert (await submit(client, account, files=files)).status_code == 202


def multipart(*parts: tuple[str, bytes], end: bytes = b"--\r\n") -> dict[str, Any]:
    body = b""
    for header, data in parts:
        body += b"--limit\r\nContent-Disposition: " + header.encode() + b"\r\n\r\n" + data + b"\r\n"
    return {
        "content": body + b"--limit" + end,
        "headers": {"Content-Type": "multipart/form-data; boundary=limit"},
    }


FILE = 'form-data; name="file"; filename="p.zip"'


@pytest.mark.parametrize(
    ("request_parts", "status", "detail"),
    [
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "multipart/form-data"),
        ({"content": b"x"}, 415, "multipart/form-data"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "no boundary"),
        (
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=" + "b" * 1000}},
            400,
            "boundary",
        ),
        (
            {"content": b"xyz", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            400,
            "malformed",
        ),
        ({"content": b"", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400, "no end"),
        (multipart((FILE, b"PK"), end=b""), 400, "cut off"),
        (multipart(("form-data", b"x")), 422, "part named ''"),
        (multipart(('form-data; name="\x1b[2J"', b"x")), 422, "part named '\\x1b[2J'"),
        (multipart(("form-data; name=options", b"{}")), 422, "no part 'file'"),
        (multipart((FILE, b"1"), (FILE, b"2")), 422, "two parts named 'file'"),
        (
            multipart((FILE + "\r\nContent-Transfer-Encoding: base64", b"UEs=")),
            422,
            "send it as it is",
        ),
        (multipart((FILE + "\r\nX: " + "y" * 100_000, b"PK")), 400, "header size"),
        (multipart((FILE, project()), end=b"--\r\n" + b"x" * 300_000), 400, "behind its end"),
        (multipart(("form-data; name=options", b" " * (2 << 20))), 413, "'options'"),
        (multipart((FILE, b"not a zip")), 400, "not a zip archive"),
        (multipart((FILE, b"")), 400, "not a zip archive"),
        (multipart((FILE, RawZip([RawEntry(b"../x", b"1")]).build())), 400, "'../x' climbs out"),
        (multipart((FILE, RawZip([RawEntry(b"x", b"1", size=9)]).build())), 400, "'x' holds less data"),
    ],
)
async def test_what_is_no_submission_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient,
    account: Account,
    repository: SQLiteJobRepository,
    shared_db: Any,
    request_parts: dict[str, Any],
    status: int,
    detail: str,
) -> None:
    bundles = shared_db.parent / "bundles"
    before = sorted(bundles.rglob("*"))
    answer = await submit(client, account, **request_parts)
    assert answer.status_code == status, answer.text
    assert detail in answer.json()["detail"]
    assert await repository.list_jobs(account.user_id, 1) == []
    assert sorted(path for path in bundles.rglob("*") if path.suffix) == [p for p in before if p.suffix]


async def test_the_same_idempotency_key_makes_one_job(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = await submit(client, account, headers=key, **form())
    again = await submit(client, account, headers=key, **form(b"not even a zip"))
    assert first.status_code == again.status_code == 202
    assert first.json()["job_id"] == again.json()["job_id"] == key["Idempotency-Key"]
    assert len(await repository.list_jobs(account.user_id, 10)) == 1


async def test_the_same_idempotency_key_at_the_same_time_makes_one_job(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4()).upper()}
    answers = await asyncio.gather(*(submit(client, account, headers=key, **form()) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["job_id"] for answer in answers} == {key["Idempotency-Key"].lower()}
    assert len(await repository.list_jobs(account.user_id, 10)) == 1


async def test_another_users_idempotency_key_is_refused(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    assert (await submit(client, account, headers=key, **form())).status_code == 202
    other = await new_account(repository, "bob")
    answer = await submit(client, other, headers=key, **form())
    assert answer.status_code == 409
    assert (await submit(client, other, headers={"Idempotency-Key": "1"}, **form())).status_code == 422


async def test_a_revoked_key_submits_nothing(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    await repository.revoke_key(KeyId(account.key_id))
    answer = await submit(client, account, **form())
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]
    assert await repository.list_jobs(account.user_id, 10) == []
