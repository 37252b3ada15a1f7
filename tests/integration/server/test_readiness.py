import sqlite3
from pathlib import Path

import httpx
import pytest

from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.conftest import StartServer
from tests.integration.server.serving import ServerProcess, form, new_account


def client_of(server: ServerProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_database_that_is_not_there_is_made(own_db: Path, start_server: StartServer) -> None:
    server = start_server(own_db)
    async with client_of(server) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}
    assert b"SQLite" in content_of(own_db)
    assert str(own_db) in server.log()


async def test_a_foreign_database_is_left_alone(own_db: Path, start_server: StartServer) -> None:
    own_db.parent.mkdir()
    with sqlite3.connect(own_db) as connection:
        connection.execute("CREATE TABLE something (x)")
    connection.close()
    before = content_of(own_db)
    server = start_server(own_db)
    async with client_of(server) as client:
        for path in ("/health", "/healthz"):
            assert (await client.get(path)).json() == {"status": "ok"}
            assert (await client.head(path)).status_code == 200
        for path in ("/readyz", "/me", "/jobs"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert str(own_db) in answer.json()["detail"]
            assert answer.headers["retry-after"]
        assert (await client.post("/submit", **form())).status_code == 503
        assert "ci_replica_ready 0.0" in (await client.get("/metrics")).text
    assert content_of(own_db) == before


async def test_a_replica_says_so_when_the_database_was_upgraded_under_it(
    own_db: Path, start_server: StartServer
) -> None:
    server = start_server(own_db)
    repository = SQLiteJobRepository(own_db)
    await repository.initialize()
    account = await new_account(repository)
    await repository.close()
    _set_schema_version(own_db, _schema_version(own_db) + 1)
    async with client_of(server) as client:
        for path in ("/readyz", "/jobs", "/me"):
            answer = await client.get(path, headers=account.headers)
            assert answer.status_code == 503, path
            assert "knows only" in answer.json()["detail"]


async def test_it_becomes_ready_by_itself_once_an_older_schema_was_upgraded(
    own_db: Path, start_server: StartServer
) -> None:
    repository = SQLiteJobRepository(own_db)
    own_db.parent.mkdir()
    await repository.initialize()
    account = await new_account(repository)
    await repository.close()
    current = _schema_version(own_db)
    _set_schema_version(own_db, current - 1)
    server = start_server(own_db)
    async with client_of(server) as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        _set_schema_version(own_db, current)
        while (await client.get("/readyz")).status_code != 200:
            pass
        assert (await client.get("/me", headers=account.headers)).status_code == 200


def _schema_version(path: Path) -> int:
    connection = sqlite3.connect(path)
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version


def _set_schema_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


async def test_figures_are_the_same_on_every_replica(own_db: Path, start_server: StartServer) -> None:
    first, second = start_server(own_db), start_server(own_db)
    repository = SQLiteJobRepository(own_db)
    await repository.initialize()
    account = await new_account(repository)
    async with client_of(first) as one, client_of(second) as two:
        for _ in range(3):
            assert (await one.post("/submit-async", headers=account.headers, **form())).status_code == 202
        texts = [(await client.get("/metrics")).text for client in (one, two)]
    for text in texts:
        assert 'ci_jobs{status="queued"} 3.0' in text
        assert 'ci_jobs{status="running"} 0.0' in text
        assert "ci_controller_alive 0.0" in text
        assert "ci_replica_ready 1.0" in text
    assert "ci_submissions_total 3.0" in texts[0]
    await repository.close()


@pytest.mark.parametrize("variable", ["CI_MAX_UPLOAD_BYTES", "CI_STREAM_PING_SECONDS"])
def test_a_bad_setting_is_named(own_db: Path, start_server: StartServer, variable: str) -> None:
    with pytest.raises(AssertionError, match=f"ci-server: {variable}: "):
        start_server(own_db, {variable: "much"})
