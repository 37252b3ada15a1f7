import asyncio
import json
import uuid
from pathlib import Path

import httpx
import pytest

from ci_common.ids import JobId, KeyId
from ci_common.models import Outcome, Phase, Reason, Verdict
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.conftest import StartServer
from tests.integration.server.serving import (
    Account,
    Driver,
    Seen,
    events_of,
    form,
    new_account,
    submitted,
    text_of,
)

PASSED = Verdict(Outcome.PASSED, exit_code=0)


async def collect(client: httpx.AsyncClient, account: Account, path: str, **headers: str) -> list[Seen]:
    return [event async for event in events_of(client, path, {**account.headers, **headers})]


async def finished_job(client: httpx.AsyncClient, account: Account, driver: Driver, *texts: str) -> JobId:
    job_id = await submitted(client, account)
    await driver.start(job_id)
    for text in texts:
        await driver.print(job_id, text)
    await driver.repository.complete(driver.fence, job_id, PASSED)
    return job_id


async def test_a_finished_job_is_told_from_its_beginning(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await finished_job(client, account, driver, "one\n", "two\n")
    events = await collect(client, account, f"/jobs/{job_id}/stream")
    assert [(event.id, event.type) for event in events] == [
        ("0", "position"),
        ("1", "status"),
        ("2", "log"),
        ("3", "log"),
        ("4", "complete"),
    ]
    assert events[1].data == {"type": "status", "status": "running"}
    assert events[2].data == {"type": "log", "phase": "test", "data": "one\n"}
    assert events[4].data == {
        "type": "complete",
        "outcome": "passed",
        "success": True,
        "exit_code": 0,
        "reason": None,
    }


async def test_the_frames_are_exactly_as_promised(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await finished_job(client, account, driver, "é\r\n")
    answer = await client.get(f"/jobs/{job_id}/stream?after=1", headers=account.headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.content.isascii()
    first, second, _ = answer.text.split("\n\n", 2)
    assert first == "id: 1"
    assert second.split("\n")[:2] == ["id: 2", "event: log"]
    assert json.loads(second.split("\n")[2].removeprefix("data: "))["data"] == "é\r\n"


async def test_live_events_come_as_they_are_committed(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await submitted(client, account)
    await driver.start(job_id)
    seen: list[Seen] = []
    async for event in events_of(client, f"/jobs/{job_id}/stream", account.headers):
        seen.append(event)
        # Each event is what makes the next one: nothing is held back until more has come.
        if event.type == "status":
            await driver.print(job_id, "0")
        elif event.type == "log" and len(seen) < 50:
            await driver.print(job_id, str(len(seen)))
        elif event.type == "log":
            await driver.repository.complete(driver.fence, job_id, PASSED)
    assert [event.id for event in seen] == [str(number) for number in range(len(seen))]
    assert seen[-1].type == "complete"


async def test_cut_at_every_event_and_resumed_there_is_no_gap_and_no_repeat(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await submitted(client, account)
    await driver.start(job_id)

    async def work() -> None:
        for number in range(30):
            await driver.print(job_id, f"{number}\n")
        await driver.repository.complete(driver.fence, job_id, PASSED)

    working = asyncio.create_task(work())
    seen: list[Seen] = []
    last_id = ""
    while not seen or seen[-1].type != "complete":
        headers = {**account.headers, **({"Last-Event-ID": last_id} if last_id else {})}
        stream = events_of(client, f"/jobs/{job_id}/stream", headers)
        async for event in stream:
            last_id = event.id
            if event.type != "position":
                seen.append(event)
                break
        await stream.aclose()
    await working
    assert [int(event.id) for event in seen] == list(range(1, 33))
    assert text_of(seen) == "".join(f"{number}\n" for number in range(30))


async def test_more_than_a_hundred_missed_events_all_come(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await finished_job(client, account, driver, *(f"{number}\n" for number in range(250)))
    events = await collect(client, account, f"/jobs/{job_id}/stream", **{"Last-Event-ID": "7"})
    assert [int(event.id) for event in events] == list(range(7, 253))


async def test_where_a_stream_begins(client: httpx.AsyncClient, account: Account, driver: Driver) -> None:
    job_id = await finished_job(client, account, driver, "a", "b", "c")
    path = f"/jobs/{job_id}/stream"

    async def ids(query: str, **headers: str) -> list[int]:
        return [int(event.id) for event in await collect(client, account, path + query, **headers)]

    assert await ids("?after=3") == [3, 4, 5]
    assert await ids("?after=3", **{"Last-Event-ID": "4"}) == [4, 5]
    assert await ids("?from_beginning=false", **{"Last-Event-ID": "1"}) == [1, 2, 3, 4, 5]
    # From the end of a completed job, or behind it, `complete` comes again.
    for query in ("?after=5", "?after=99", "?after=99999999999999999999999", "?from_beginning=false"):
        assert await ids(query) == [5, 5]
    assert await ids("", **{"Last-Event-ID": "9223372036854775807"}) == [5, 5]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?after=-1", {}),
        ("?after=x", {}),
        ("?from_beginning=perhaps", {}),
        ("", {"Last-Event-ID": "x"}),
        ("", {"Last-Event-ID": "-1"}),
        ("", {"Last-Event-ID": "1" * 30}),
    ],
)
async def test_a_beginning_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, account: Account, query: str, headers: dict[str, str]
) -> None:
    job_id = await submitted(client, account)
    answer = await client.get(f"/jobs/{job_id}/stream{query}", headers={**account.headers, **headers})
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


async def test_only_what_is_new_from_the_present_end_on(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await submitted(client, account)
    await driver.start(job_id)
    await driver.print(job_id, "old")
    seen: list[Seen] = []
    async for event in events_of(client, f"/jobs/{job_id}/stream?from_beginning=false", account.headers):
        seen.append(event)
        if event.type == "position":
            await driver.print(job_id, "new")
            await driver.repository.complete(driver.fence, job_id, PASSED)
    assert [event.id for event in seen] == ["2", "3", "4"]
    assert text_of(seen) == "new"


@pytest.mark.parametrize(
    "text",
    [
        "a\rb\r\nc\n\n\nd\r\r\n\n",
        "no newline at the end",
        "\n",
        "\r",
        "data: x\n\nid: 7\nevent: complete\n\n: comment",
        "\u2028\u2029\x85\x0b\x0c\x1c",
        "\0\x1b[31m\x07 \ufffd \U0001f600",
    ],
)
async def test_output_is_exact_behind_the_framing(
    client: httpx.AsyncClient, account: Account, driver: Driver, text: str
) -> None:
    job_id = await finished_job(client, account, driver, text)
    assert text_of(await collect(client, account, f"/jobs/{job_id}/stream")) == text
    logs = await client.get(f"/jobs/{job_id}/logs", headers=account.headers)
    assert logs.content == text.encode()


async def test_one_line_of_20_mb_comes_live_and_again(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await submitted(client, account)
    await driver.start(job_id)
    live = asyncio.create_task(collect(client, account, f"/jobs/{job_id}/stream"))
    await driver.print(job_id, "1 2 3\n")
    await driver.print(job_id, "x" * 20_000_000 + "\n")
    await driver.print(job_id, "4 5 6\n")
    await driver.repository.complete(driver.fence, job_id, PASSED)
    expected = "1 2 3\n" + "x" * 20_000_000 + "\n4 5 6\n"
    assert text_of(await live) == expected
    assert text_of(await collect(client, account, f"/jobs/{job_id}/stream")) == expected
    assert (await client.get(f"/jobs/{job_id}/logs", headers=account.headers)).text == expected
    assert (await client.get("/jobs", headers=account.headers)).json()[0]["status"] == "completed"


async def test_a_burst_to_a_slow_reader_arrives_whole(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await submitted(client, account)
    await driver.start(job_id)
    lines = [f"{number} {'.' * 500}\n" for number in range(10_000)]
    seen: list[Seen] = []
    async for event in events_of(client, f"/jobs/{job_id}/stream", account.headers):
        seen.append(event)
        if event.type == "status":
            # The reader takes nothing while all of it is printed: more than any buffer on the way holds.
            for start in range(0, len(lines), 100):
                await driver.print(job_id, *lines[start : start + 100])
            await driver.repository.complete(driver.fence, job_id, PASSED)
    assert text_of(seen) == "".join(lines)
    assert [int(event.id) for event in seen] == list(range(len(seen)))


async def test_submit_streams_until_the_job_completes(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    key = str(uuid.uuid4())
    headers = {**account.headers, "Idempotency-Key": key}
    async with client.stream("POST", "/submit", headers=headers, **form()) as answer:
        assert answer.status_code == 200
        assert answer.headers["x-job-id"] == key
        await driver.start(JobId(key))
        await driver.print(JobId(key), "hello\n")
        await driver.repository.complete(driver.fence, JobId(key), PASSED)
        body = (await answer.aread()).decode()
    assert body.startswith("id: 0\n\n")
    assert '"data": "hello\\n"' in body or '"data":"hello\\n"' in body
    assert "event: complete" in body


async def test_submit_stream_tells_the_id_first(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    async with client.stream("POST", "/submit-stream", headers=account.headers, **form()) as answer:
        lines = answer.aiter_lines()
        assert await anext(lines) == "event: job_id"
        data = json.loads((await anext(lines)).removeprefix("data: "))
        assert data == {"type": "job_id", "job_id": answer.headers["x-job-id"]}
        await driver.repository.request_cancel(JobId(data["job_id"]), Reason.CANCELLED_BY_USER)
        rest = [line async for line in lines]
    assert "event: complete" in rest


async def test_a_client_that_leaves_its_submission_leaves_the_job_running(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    async with client.stream("POST", "/submit", headers=account.headers, **form()) as answer:
        job_id = JobId(answer.headers["x-job-id"])
    await driver.start(job_id)
    await driver.repository.complete(driver.fence, job_id, PASSED)
    events = await collect(client, account, f"/jobs/{job_id}/stream")
    assert events[-1].data["outcome"] == "passed"


async def test_silence_is_filled_with_comments(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer
) -> None:
    server = start_server(own_db, {"CI_STREAM_PING_SECONDS": "0.1"})
    account = await new_account(own_repository)
    driver = await Driver.leading(own_repository)
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as client:
        job_id = await submitted(client, account)
        await driver.start(job_id)
        async with client.stream("GET", f"/jobs/{job_id}/stream", headers=account.headers) as answer:
            lines = answer.aiter_lines()
            for _ in range(3):
                while await anext(lines) != ": ping":
                    pass
            await own_repository.complete(driver.fence, job_id, PASSED)
            assert "event: complete" in [line async for line in lines]


@pytest.mark.parametrize("how", ["key", "user"])
async def test_open_streams_end_when_the_key_is_no_longer_good(
    client: httpx.AsyncClient, account: Account, driver: Driver, repository: SQLiteJobRepository, how: str
) -> None:
    job_id = await submitted(client, account)
    await driver.start(job_id)
    other = await new_account(repository, "bob")
    others_job = await submitted(client, other)
    seen: list[Seen] = []
    others_stream = events_of(client, f"/jobs/{others_job}/stream", other.headers)
    await anext(others_stream)
    async for event in events_of(client, f"/jobs/{job_id}/stream", account.headers):
        seen.append(event)
        if event.type == "status" and how == "key":
            await repository.revoke_key(KeyId(account.key_id))
        elif event.type == "status":
            await repository.set_user_active(account.user_id, is_active=False)
    assert "complete" not in {event.type for event in seen}
    again = await client.get(f"/jobs/{job_id}/stream", headers=account.headers)
    assert again.status_code == 401
    await repository.request_cancel(others_job, Reason.CANCELLED_BY_USER)
    assert [event.type async for event in others_stream][-1] == "complete"


async def test_logs_give_the_wanted_phases(
    client: httpx.AsyncClient, account: Account, driver: Driver
) -> None:
    job_id = await submitted(client, account)
    await driver.start(job_id)
    await driver.print(job_id, "installing\n", phase=Phase.INSTALL)
    await driver.print(job_id, "testing\n")
    texts = {
        query: (await client.get(f"/jobs/{job_id}/logs{query}", headers=account.headers)).text
        for query in ("", "?phase=test", "?phase=install", "?phase=all")
    }
    assert texts == {
        "": "testing\n",
        "?phase=test": "testing\n",
        "?phase=install": "installing\n",
        "?phase=all": "installing\ntesting\n",
    }
    bad = await client.get(f"/jobs/{job_id}/logs?phase=x", headers=account.headers)
    assert bad.status_code == 422
