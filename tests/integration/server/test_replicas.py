"""Many replicas on one database; any of them may stop or die at any moment."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from ci_common.ids import JobId
from ci_common.models import Outcome, Reason, Verdict
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.conftest import StartServer
from tests.integration.server.serving import (
    Account,
    Driver,
    Seen,
    ServerProcess,
    events_of,
    form,
    new_account,
    text_of,
)

PASSED = Verdict(Outcome.PASSED, exit_code=0)
COMMANDS = {
    "ci-server": ("ci_server", "--port", "0"),
    "uvicorn": ("uvicorn", "ci_server.app:app", "--port", "0"),
}


def client_of(server: ServerProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False)


async def submitted(server: ServerProcess, account: Account) -> JobId:
    async with client_of(server) as client:
        answer = await client.post("/submit-async", headers=account.headers, **form())
    return JobId(answer.json()["job_id"])


async def test_a_killed_replicas_client_goes_on_with_another(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer
) -> None:
    first, second = start_server(own_db), start_server(own_db)
    account = await new_account(own_repository)
    driver = await Driver.leading(own_repository)
    job_id = await submitted(first, account)
    await driver.start(job_id)
    seen: list[Seen] = []
    async with client_of(first) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            async for event in events_of(client, f"/jobs/{job_id}/stream", account.headers):
                seen.append(event)
                if len(seen) == 20:
                    first.kill()
                await driver.print(job_id, f"{len(seen)}\n")
    headers = {**account.headers, "Last-Event-ID": seen[-1].id}
    async with client_of(second) as client:
        async for event in events_of(client, f"/jobs/{job_id}/stream", headers):
            if event.type != "position":
                seen.append(event)
            else:
                await driver.repository.complete(driver.fence, job_id, PASSED)
    assert [int(event.id) for event in seen] == list(range(len(seen)))
    stored = await own_repository.get_job(job_id)
    assert seen[-1].id == str(stored.last_seq)
    assert text_of(seen) == "".join(f"{number}\n" for number in range(1, len(seen) - 2))


async def test_a_cancellation_on_one_replica_ends_the_stream_on_another(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer
) -> None:
    first, second = start_server(own_db), start_server(own_db)
    account = await new_account(own_repository)
    job_id = await submitted(first, account)
    async with client_of(first) as watching, client_of(second) as cancelling:
        stream = events_of(watching, f"/jobs/{job_id}/stream", account.headers)
        await anext(stream)
        answer = await cancelling.post(f"/jobs/{job_id}/cancel", headers=account.headers)
        assert answer.json()["outcome"] == "cancelled"
        assert [event.type async for event in stream][-1] == "complete"


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_stopping_replica_ends_its_streams_cleanly(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer, command: str
) -> None:
    server = start_server(own_db, command=COMMANDS[command])
    account = await new_account(own_repository)
    driver = await Driver.leading(own_repository)
    running, queued = await submitted(server, account), await submitted(server, account)
    await driver.start(running)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_of(server))
        streams = [
            events_of(client, f"/jobs/{job_id}/stream", account.headers)
            for job_id in (running, queued)
            for _ in range(10)
        ]
        for stream in streams:
            await anext(stream)
        server.terminate()

        async def rest(number: int) -> list[str]:
            # An end that is not clean raises here.
            return [event.type async for event in streams[number]]

        ends = await asyncio.gather(*(rest(number) for number in range(len(streams))))
    assert all("complete" not in types for types in ends)
    server.process.wait(timeout=20)
    assert (await own_repository.request_cancel(queued, Reason.CANCELLED_BY_USER)).outcome is not None


async def test_readers_that_left_are_forgotten(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer
) -> None:
    server = start_server(own_db)
    account = await new_account(own_repository)
    job_id = await submitted(server, account)

    async def open_streams(client: httpx.AsyncClient) -> float:
        text = (await client.get("/metrics")).text
        (line,) = [line for line in text.splitlines() if line.startswith("ci_event_streams ")]
        return float(line.split()[1])

    async with client_of(server) as client:
        async with client_of(server) as leaving:
            streams = [events_of(leaving, f"/jobs/{job_id}/stream", account.headers) for _ in range(20)]
            for stream in streams:
                await anext(stream)
            assert await open_streams(client) > 0
            for stream in streams:
                await stream.aclose()
        while await open_streams(client):
            pass
