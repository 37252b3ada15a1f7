"""`ci submit test` of a project that was sent before: what goes, and what arrives."""

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.client.client_command import Client, client_of
from tests.integration.client.scripted_server import Exchange, Handler, scripted_server
from tests.integration.client.worker import finished
from tests.integration.server.serving import Account, ServerProcess, new_account

BIG = os.urandom(3 << 20)


@pytest.fixture
def large_project(project: Path) -> Path:
    """More than what is sent without comparing."""
    (project / "big.zip").write_bytes(BIG)
    (project / "half.txt").write_bytes(BIG[: 1 << 20])
    (project / "run.sh").write_text("#!/bin/sh\n" * 100)
    (project / "link").symlink_to("run.sh")
    (project / "empty").mkdir()
    return project


@pytest.fixture
async def folder(repository: SQLiteJobRepository, shared_db: Path) -> Path:
    return shared_db.parent / "bundles" / await repository.instance_id()


async def submit(client: Client, project: Path) -> tuple[str, str]:
    """The job's id, and what was said."""
    done = await finished(client.start("submit", "test", "--async", "-v", cwd=project))
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode().removeprefix("Job submitted: ").strip(), done.stderr


def arrived(folder: Path, job_id: str) -> Mapping[str, tuple[bytes, int]]:
    """The files of a job's bundle, with their modes."""
    archive = zipfile.ZipFile(io.BytesIO((folder / f"{job_id}.zip").read_bytes()))
    assert archive.testzip() is None
    return {info.filename: (archive.read(info), info.external_attr >> 16) for info in archive.infolist()}


async def test_only_what_has_changed_is_sent(client: Client, large_project: Path, folder: Path) -> None:
    first_id, said = await submit(client, large_project)
    assert "by name" not in said
    first = arrived(folder, first_id)
    (large_project / "tests" / "test_it.py").write_text("def test_other(): pass\n")
    (large_project / "half.txt").rename(large_project / "moved.txt")
    (large_project / "run.sh").chmod(0o755)
    (large_project / "new.py").write_text("new = 1\n")
    (large_project / "empty").rmdir()
    second_id, said = await submit(client, large_project)
    assert "2 of them by name" in said  # what has another path is sent
    second = arrived(folder, second_id)
    assert second == {
        "requirements.txt": first["requirements.txt"],
        "tests/test_it.py": (b"def test_other(): pass\n", 0o100644),
        "moved.txt": first["half.txt"],
        "run.sh": (first["run.sh"][0], 0o100755),
        "new.py": (b"new = 1\n", 0o100644),
        "big.zip": first["big.zip"],
        "link": first["link"],
    }
    third_id, said = await submit(client, large_project)
    assert "by name" in said
    assert arrived(folder, third_id) == second


async def test_what_was_swept_meanwhile_is_sent_again(
    client: Client, large_project: Path, folder: Path, account: Account
) -> None:
    first_id, _ = await submit(client, large_project)
    kept = folder / "kept" / account.user_id
    for path in kept.iterdir():
        path.unlink()
    second_id, said = await submit(client, large_project)
    assert "by name" not in said
    assert arrived(folder, second_id) == arrived(folder, first_id)
    _, said = await submit(client, large_project)
    assert "by name" in said


async def test_another_user_sends_everything(
    client: Client, large_project: Path, repository: SQLiteJobRepository, server: ServerProcess
) -> None:
    await submit(client, large_project)
    other = Client(client.home, server.url, (await new_account(repository, "bob")).key)
    _, said = await submit(other, large_project)
    assert "by name" not in said


async def test_a_small_project_asks_nothing_and_remembers_nothing(home: Path, project: Path) -> None:
    async with scripted_server() as server:
        for _ in range(2):
            done = await finished(client_of(home, server.url).start("submit", "test", cwd=project))
            assert done.exit_code == 0
        assert [request.method for request in server.requests] == ["POST", "GET"] * 2
    assert not (home / ".cache").exists()


def held_all() -> Handler:
    async def handle(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.json(200, {"missing": []})

    return handle


def by_turns(*handlers: Handler) -> Handler:
    left = list(handlers)

    async def handle(exchange: Exchange) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(exchange)

    return handle


async def accept(exchange: Exchange) -> None:
    await exchange.read_body()
    await exchange.json(202, {"job_id": exchange.headers["idempotency-key"], "status": "queued"})


async def test_contents_that_are_gone_are_sent_under_the_same_key(home: Path, large_project: Path) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.json(409, {"detail": "send all of them", "code": "contents_gone"})

    handlers: dict[str, Handler] = {
        "^POST /contents/missing$": held_all(),
        "^POST /submit-async$": by_turns(accept, refuse, accept),
    }
    async with scripted_server(handlers) as server:
        client = client_of(home, server.url)
        for _ in range(2):
            done = await finished(client.start("submit", "test", cwd=large_project))
            assert (done.exit_code, done.stdout) == (0, b"fine\n")
        first, named, whole = server.made("^POST /submit-async$")
    assert len(named.body) < 1 << 20 < len(whole.body)
    assert named.headers["idempotency-key"] == whole.headers["idempotency-key"]
    assert first.headers["keep-contents"] == whole.headers["keep-contents"] == "true"


@pytest.mark.parametrize(("status", "code"), [(409, None), (422, None), (429, "too_much_unfinished")])
async def test_no_other_refusal_sends_everything(
    home: Path, large_project: Path, status: int, code: str | None
) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.json(status, {"detail": "not so", "code": code})

    handlers: dict[str, Handler] = {
        "^POST /contents/missing$": held_all(),
        "^POST /submit-async$": by_turns(accept, refuse, accept),
    }
    async with scripted_server(handlers) as server:
        client = client_of(home, server.url)
        await finished(client.start("submit", "test", cwd=large_project))
        done = await finished(client.start("submit", "test", cwd=large_project))
        assert len(server.made("^POST /submit-async$")) == 2
    assert done.exit_code in {64, 69}
    assert "not so" in done.stderr


async def test_a_cut_upload_of_names_is_sent_again_as_it_was(home: Path, large_project: Path) -> None:
    async def cut(exchange: Exchange) -> None:
        exchange.reset()

    handlers: dict[str, Handler] = {
        "^POST /contents/missing$": held_all(),
        "^POST /submit-async$": by_turns(accept, cut, accept),
    }
    async with scripted_server(handlers) as server:
        client = client_of(home, server.url)
        for _ in range(2):
            done = await finished(client.start("submit", "test", cwd=large_project))
            assert done.exit_code == 0
        _, lost, again = server.made("^POST /submit-async$")
    assert lost.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert len(again.body) < 1 << 20


@pytest.mark.parametrize("status", [404, 500, 502])
async def test_a_server_that_can_not_compare_gets_everything(
    home: Path, large_project: Path, status: int
) -> None:
    async def unknown(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.json(status, {"detail": "Not Found"})

    async with scripted_server({"^POST /contents/missing$": unknown}) as server:
        client = client_of(home, server.url)
        for _ in range(2):
            done = await finished(client.start("submit", "test", cwd=large_project))
            assert done.exit_code == 0
        bodies = [len(request.body) for request in server.made("^POST /submit-async$")]
    assert min(bodies) > 1 << 20


async def test_a_refused_key_ends_it_before_anything_is_packed(home: Path, large_project: Path) -> None:
    async def refuse(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.json(401, {"detail": "the key is revoked"})

    async with scripted_server({"^POST /contents/missing$": refuse}) as server:
        client = client_of(home, server.url)
        await finished(client.start("submit", "test", cwd=large_project))
        done = await finished(client.start("submit", "test", cwd=large_project))
        assert len(server.made("^POST /submit-async$")) == 1
    assert done.exit_code == 77
