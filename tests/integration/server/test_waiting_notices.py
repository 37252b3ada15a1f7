"""Why a job waits, as its watchers are told."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from ci_common.event_data import notice_data
from ci_common.ids import ContainerId
from ci_common.models import ControllerState, Outcome, Verdict
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.integration.server.conftest import StartServer
from tests.integration.server.serving import Driver, Seen, events_of, new_account, submitted

PASSED = Verdict(Outcome.PASSED, exit_code=0)


async def next_notice(stream: AsyncIterator[Seen]) -> Seen:
    async for event in stream:
        if event.type == "notice":
            assert event.id in {"", "0"}
            return event
    raise AssertionError("the stream ended")


async def test_why_a_job_waits_is_told_at_once_and_on_change(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer
) -> None:
    server = start_server(own_db)
    account = await new_account(own_repository)
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as client:
        first = await submitted(client, account)
        second = await submitted(client, account)
        stream = events_of(client, f"/jobs/{second}/stream", account.headers)
        texts = [(await next_notice(stream)).data]
        driver = await Driver.leading(own_repository)
        for state, detail in (
            (ControllerState.NO_ENGINE, "is it running?"),
            (ControllerState.BUILDING_IMAGE, ""),
            (ControllerState.READY, ""),
        ):
            await own_repository.beat(driver.fence, state, detail)
            while True:
                notice = (await next_notice(stream)).data
                if "starting" not in notice["data"]:
                    break
            texts.append(notice)
        await driver.start(first)
        texts.append((await next_notice(stream)).data)
        await own_repository.set_waiting(driver.fence, second, "an environment is being installed")
        texts.append((await next_notice(stream)).data)
        await driver.start(second)
        await own_repository.complete(driver.fence, second, PASSED)
        rest = [event async for event in stream]
    assert [text["data"] for text in texts] == [
        "waiting: no controller is running on the build machine",
        "waiting: the container engine can't be reached (is it running?)",
        "waiting: a base image is being built",
        "waiting: number 2 in the queue",
        "waiting: next in the queue",
        "waiting: an environment is being installed",
    ]
    assert all(text["type"] == "notice" for text in texts)
    assert [event.type for event in rest] == ["status", "complete"]


async def test_a_job_that_waits_again_is_told_so(
    own_db: Path, own_repository: SQLiteJobRepository, start_server: StartServer
) -> None:
    server = start_server(own_db)
    account = await new_account(own_repository)
    driver = await Driver.leading(own_repository)
    await own_repository.beat(driver.fence, ControllerState.READY, "")
    async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as client:
        job_id = await submitted(client, account)
        await driver.start(job_id)
        seen: list[Seen] = []
        async for event in events_of(client, f"/jobs/{job_id}/stream", account.headers):
            seen.append(event)
            if len(seen) == 2:
                await own_repository.requeue(
                    driver.fence, job_id, ContainerId(f"c-{job_id}"), "lost its container", uses_attempt=True
                )
            if event.type == "notice" and "waiting" in event.data["data"]:
                await own_repository.complete(driver.fence, job_id, PASSED, [notice_data("over")])
    assert [event.data["data"] for event in seen if event.type == "notice"] == [
        "lost its container",
        "waiting: next in the queue",
        "over",
    ]
