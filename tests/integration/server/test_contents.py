"""Submissions that name what was sent before, against a real server."""

import asyncio
import hashlib
import io
import os
import stat
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from ci_common.models import Reason
from ci_common.zip_writer import REFERENCE, ZipEntry, end_of_archive
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.serving import Account, ServerProcess, form, new_account, project

OLD = {"requirements.txt": b"pytest\n", "a.py": b"a = 1\n" * 500, "b.bin": os.urandom(5000)}


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def naming(files: Mapping[str, bytes], named: Mapping[str, bytes]) -> bytes:
    """An archive that holds `files`, and names the contents of `named`."""
    body, directory = b"", b""
    for name, content in (*files.items(), *named.items()):
        entry = ZipEntry(name.encode(), stat.S_IFREG | 0o644, size_bytes=len(content))
        data = content
        if name in named:
            entry.method, data = REFERENCE, digest(content)
        else:
            entry.crc = zlib.crc32(content)
        entry.compressed_bytes, entry.header_offset = len(data), len(body)
        body += entry.local_header() + data
        directory += entry.record()
    return body + directory + end_of_archive(len(files) + len(named), len(body), len(directory))


async def submit(
    client: httpx.AsyncClient, account: Account, archive: bytes, **headers: str
) -> httpx.Response:
    return await client.post(
        "/submit-async",
        headers={**account.headers, **{name.replace("_", "-"): value for name, value in headers.items()}},
        **form(archive),
    )


async def missing(
    client: httpx.AsyncClient, account: Account, *digests: bytes, path: str = "/contents/missing"
) -> httpx.Response:
    return await client.post(path, headers=account.headers, content=b"".join(digests))


def bundle_of(server_folder: Path, job_id: str) -> dict[str, bytes]:
    archive = zipfile.ZipFile(io.BytesIO((server_folder / f"{job_id}.zip").read_bytes()))
    return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
async def folder(repository: SQLiteJobRepository, shared_db: Path) -> Path:
    return shared_db.parent / "bundles" / await repository.instance_id()


async def test_what_was_kept_need_only_be_named(
    client: httpx.AsyncClient, account: Account, folder: Path, repository: SQLiteJobRepository
) -> None:
    first = await submit(client, account, project(OLD), Keep_Contents="true")
    assert first.status_code == 202
    new = digest(b"new")
    assert (await missing(client, account, new, digest(OLD["a.py"]))).json() == {"missing": [0]}
    archive = naming({"new": b"new"}, {"moved.py": OLD["a.py"], "requirements.txt": b"pytest\n"})
    answer = await submit(client, account, archive)
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    found = bundle_of(folder, job_id)
    assert found == {"new": b"new", "moved.py": OLD["a.py"], "requirements.txt": b"pytest\n"}
    (job,) = [job for job in await repository.list_jobs(account.user_id, 10) if job.id == job_id]
    assert job.bundle_bytes == (folder / f"{job_id}.zip").stat().st_size
    # What was composed is kept in its turn.
    assert (await missing(client, account, new)).json() == {"missing": []}


async def test_nothing_is_kept_unasked(client: httpx.AsyncClient, account: Account, folder: Path) -> None:
    assert (await submit(client, account, project(OLD))).status_code == 202
    assert (await missing(client, account, digest(OLD["a.py"]))).json() == {"missing": [0]}
    assert not (folder / "kept" / account.user_id).exists()


async def test_nobody_else_can_name_it(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    other = await new_account(repository, "bob")
    await submit(client, account, project(OLD), Keep_Contents="true")
    assert (await missing(client, other, digest(OLD["a.py"]))).json() == {"missing": [0]}
    answer = await submit(client, other, naming({}, {"a.py": OLD["a.py"]}))
    assert answer.status_code == 409
    assert "send all of them" in answer.json()["detail"]
    assert answer.json()["code"] == "contents_gone"
    assert await repository.list_jobs(other.user_id, 10) == []


async def test_a_refused_submission_may_be_sent_whole_under_the_same_key(
    client: httpx.AsyncClient, account: Account
) -> None:
    key = str(uuid.uuid4())
    refused = await submit(client, account, naming({}, {"a.py": b"never sent"}), Idempotency_Key=key)
    whole = await submit(client, account, project(OLD), Idempotency_Key=key, Keep_Contents="true")
    again = await submit(client, account, naming({}, {"a.py": OLD["a.py"]}), Idempotency_Key=key)
    assert (refused.status_code, whole.status_code, again.status_code) == (409, 202, 202)
    assert whole.json()["job_id"] == again.json()["job_id"] == key


async def test_two_at_once_under_one_key_make_one_job(
    client: httpx.AsyncClient, account: Account, repository: SQLiteJobRepository
) -> None:
    await submit(client, account, project(OLD), Keep_Contents="true")
    key = str(uuid.uuid4())
    archive = naming({"new": b"new"}, {"a.py": OLD["a.py"]})
    answers = await asyncio.gather(*(submit(client, account, archive, Idempotency_Key=key) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len(await repository.list_jobs(account.user_id, 10)) == 2


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"a": b""}, {"../b": OLD["a.py"]}),
        ({"a": b""}, {"a/b": OLD["a.py"]}),
        ({"x": b""}, {"/abs": OLD["a.py"]}),
    ],
)
async def test_what_is_named_obeys_the_rules_of_archives(
    client: httpx.AsyncClient,
    account: Account,
    files: Mapping[str, bytes],
    named: Mapping[str, bytes],
    repository: SQLiteJobRepository,
) -> None:
    await submit(client, account, project(OLD), Keep_Contents="true")
    assert (await submit(client, account, naming(files, named))).status_code == 400
    assert len(await repository.list_jobs(account.user_id, 10)) == 1


async def test_a_question_is_a_row_of_digests_from_somebody(
    client: httpx.AsyncClient, account: Account
) -> None:
    assert (await missing(client, account)).json() == {"missing": []}
    assert (await missing(client, account, b"x" * 33)).status_code == 422
    nobody = Account(account.user_id, "ci_" + "x" * 43, account.key_id)
    assert (await missing(client, nobody, b"x" * 32)).status_code == 401


async def test_limits_hold_for_what_is_composed_and_for_questions(
    tmp_path: Path, repository: SQLiteJobRepository, shared_db: Path, account: Account
) -> None:
    settings = {"CI_MAX_UPLOAD_BYTES": "16000", "CI_MAX_BUNDLE_ENTRIES": "5"}
    server = ServerProcess(shared_db, tmp_path / "log", settings)
    try:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            await submit(client, account, project(OLD), Keep_Contents="true")
            names = {f"{number}.bin": OLD["b.bin"] for number in range(4)}
            refused = await submit(client, account, naming({}, names))
            assert refused.status_code == 422
            assert "CI_MAX_UPLOAD_BYTES" in refused.json()["detail"]
            assert (await missing(client, account, b"x" * 32 * 6)).status_code == 413
            assert (await missing(client, account, b"x" * 32 * 5)).status_code == 200
    finally:
        server.stop()


async def test_unfinished_jobs_bound_what_may_be_put_together(
    tmp_path: Path, repository: SQLiteJobRepository, shared_db: Path, account: Account
) -> None:
    server = ServerProcess(shared_db, tmp_path / "log", {"CI_MAX_UPLOAD_BYTES": "12000"})
    names = naming({}, {"1": OLD["b.bin"], "2": OLD["b.bin"]})
    try:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            await submit(client, account, project(OLD), Keep_Contents="true")
            answers = await asyncio.gather(*(submit(client, account, names) for _ in range(4)))
            refused = [answer for answer in answers if answer.status_code != 202]
            assert len(refused) == 3
            for answer in refused:
                assert (answer.status_code, answer.json()["code"]) == (429, "too_much_unfinished")
                assert "ci list" in answer.json()["detail"]
            assert (await submit(client, account, project(OLD))).status_code == 202
            for job in await repository.list_jobs(account.user_id, 10):
                await repository.request_cancel(job.id, Reason.CANCELLED_BY_USER)
            assert (await submit(client, account, names)).status_code == 202
    finally:
        server.stop()
