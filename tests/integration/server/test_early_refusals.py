"""Refusals that come before, or in the midst of, a body that is still being sent."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ci_common.api_keys import new_key
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.conftest import StartServer
from tests.integration.server.serving import Account, ServerProcess, form, new_account, project

MULTIPART = {"Content-Type": "multipart/form-data; boundary=limit"}
HEAD = b'--limit\r\nContent-Disposition: form-data; name="file"; filename="p.zip"\r\n\r\n'
TWO_GIB = 2 << 30


class Body:
    """A large body that counts how much of it was asked for."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.sent_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        block = bytes(1 << 16)
        yield HEAD
        while self.sent_bytes < self.total_bytes:
            self.sent_bytes += len(block)
            yield block


async def raw(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    target = httpx.URL(url)
    return await asyncio.open_connection(target.host, target.port)


def request_head(account: Account, length: str, *lines: str) -> bytes:
    head = [
        "POST /submit-async HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {account.key}",
        "Content-Type: multipart/form-data; boundary=limit",
        length,
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode()


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("path", ["/submit", "/submit-stream", "/submit-async"])
def test_a_wrong_key_ends_a_2_gib_upload_early_with_its_401(
    server: ServerProcess, path: str, length: bool
) -> None:
    body = Body(TWO_GIB)
    headers = {"Authorization": f"Bearer {new_key().text}", **MULTIPART}
    if length:
        headers["Content-Length"] = str(TWO_GIB + len(HEAD))
    answer = httpx.post(server.url + path, headers=headers, content=body, timeout=30, trust_env=False)
    assert answer.status_code == 401
    assert answer.json() == {"detail": "the API key is not valid"}
    assert answer.headers["www-authenticate"] == "Bearer"
    assert body.sent_bytes < TWO_GIB // 4


async def test_no_key_is_refused_before_the_body_is_asked_for(server: ServerProcess) -> None:
    reader, writer = await raw(server.url)
    writer.write(b"POST /submit HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in answer


async def test_a_good_key_is_told_to_continue(server: ServerProcess, account: Account) -> None:
    body = HEAD + project() + b"\r\n--limit--\r\n"
    reader, writer = await raw(server.url)
    writer.write(
        request_head(account, f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close")
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 202 ")


def post_three_sizes(server: ServerProcess, account: Account) -> list[httpx.Response]:
    """Far too much and announced, far too much without a length, and just enough."""
    headers = {**account.headers, **MULTIPART}
    length = {"Content-Length": str(TWO_GIB + len(HEAD))}
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        return [
            client.post("/submit-async", headers={**headers, **length}, content=Body(TWO_GIB)),
            client.post("/submit-async", headers=headers, content=Body(TWO_GIB)),
            client.post("/submit-async", headers=account.headers, **form(project({"x": bytes(900_000)}))),
        ]


async def test_a_body_that_announces_too_much_is_refused_at_once(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer
) -> None:
    server = start_server(own_db, {"CI_MAX_UPLOAD_BYTES": "1000000"})
    account = await new_account(own_repository)
    announced, chunked, allowed = await asyncio.to_thread(post_three_sizes, server, account)
    assert announced.status_code == chunked.status_code == 413
    assert "CI_MAX_UPLOAD_BYTES" in announced.json()["detail"]
    assert "CI_MAX_UPLOAD_BYTES" in chunked.json()["detail"]
    assert allowed.status_code == 202
    assert len(await own_repository.list_jobs(account.user_id, 10)) == 1


async def test_an_upload_of_which_nothing_comes_is_given_up(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer
) -> None:
    server = start_server(own_db, {"CI_UPLOAD_IDLE_SECONDS": "0.2"})
    account = await new_account(own_repository)
    reader, writer = await raw(server.url)
    writer.write(request_head(account, "Content-Length: 100000") + HEAD)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"nothing of the upload has come" in answer
    assert await own_repository.list_jobs(account.user_id, 1) == []


@pytest.mark.parametrize("sent", [0, 20, len(HEAD), len(HEAD) + 50, 3_000_000])
async def test_a_truncated_upload_leaves_no_job_and_no_file(
    server: ServerProcess,
    client: httpx.AsyncClient,
    account: Account,
    repository: SQLiteJobRepository,
    shared_db: Path,
    sent: int,
) -> None:
    files_before = files_in(shared_db.parent)
    _, writer = await raw(server.url)
    writer.write(request_head(account, "Content-Length: 5000000"))
    writer.write((HEAD + bytes(5_000_000))[:sent])
    await writer.drain()
    # The test's own time limit bounds both waits: until the server has begun, and until it let go.
    while not incoming_files(server):
        await client.get("/health")
    writer.transport.abort()
    while incoming_files(server):
        await client.get("/health")
    assert await repository.list_jobs(account.user_id, 1) == []
    assert files_in(shared_db.parent) == files_before
    assert "Traceback" not in server.log()


def incoming_files(server: ServerProcess) -> set[str]:
    """Bundles that the server holds open."""
    found: set[str] = set()
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            found.add(str(link.readlink()))
        except FileNotFoundError:
            continue
    return {name for name in found if "/bundles/" in name}


def files_in(data_dir: Path) -> set[Path]:
    return {path for path in (data_dir / "bundles").rglob("*") if path.is_file()}


async def test_a_body_longer_than_announced_harms_nobody(
    server: ServerProcess, account: Account, repository: SQLiteJobRepository
) -> None:
    body = HEAD + project() + b"\r\n--limit--\r\n"
    reader, writer = await raw(server.url)
    writer.write(request_head(account, f"Content-Length: {len(body)}") + body + b"\0garbage\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b"HTTP/1.1 400 " in answer
    assert len(await repository.list_jobs(account.user_id, 10)) == 1


async def test_a_body_shorter_than_its_form_is_refused(
    server: ServerProcess, account: Account, repository: SQLiteJobRepository
) -> None:
    body = HEAD + project()
    reader, writer = await raw(server.url)
    writer.write(request_head(account, f"Content-Length: {len(body)}", "Connection: close") + body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"cut off" in answer
    assert await repository.list_jobs(account.user_id, 10) == []
