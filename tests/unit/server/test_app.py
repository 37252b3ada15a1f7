"""The whole application in this process, with storage that fails where a test wants it to."""

import asyncio
import errno
import io
import threading
import zipfile
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO

import httpx
import pytest
from fastapi import FastAPI

from ci_common.api_keys import NewKey, new_key
from ci_common.bundle_store import BundleStore, IncomingBundle
from ci_common.content_store import Changes, Content, ContentsGone, ContentStore
from ci_common.errors import SchemaOutdated, StorageBusy, StorageFull
from ci_common.ids import JobId, UserId
from ci_common.job_times import NO_TIMES, JobTimes
from ci_common.models import Job, Submission
from ci_server.factory import create_app
from ci_server.settings import ServerSettings
from ci_server.storage import Storage
from ci_server.stream_hub import Wake
from tests.e2e.conditions import PATIENCE_SECONDS
from tests.fakes.memory_repository import MemoryRepository


class FullFile(io.BytesIO):
    def write(self, data: object, /) -> int:
        raise OSError(errno.ENOSPC, "no space")


class HeldFile(io.BytesIO):
    """Whoever judges it waits."""

    def __init__(self, judging: threading.Semaphore, may_go_on: threading.Event) -> None:
        super().__init__()
        self._judging = judging
        self._may_go_on = may_go_on

    def flush(self) -> None:
        self._judging.release()
        self._may_go_on.wait()


class Incoming(IncomingBundle):
    def __init__(self, store: "Bundles", file: BinaryIO) -> None:
        self._store = store
        self._file = file

    @property
    def file(self) -> BinaryIO:
        return self._file

    def sync(self) -> None:
        self._store.synced += 1

    def publish(self, job_id: JobId) -> None:
        if self._store.publish_error is not None:
            raise self._store.publish_error
        self._store.published[job_id] = self._file.read()

    def discard(self) -> None:
        self._store.open_files -= 1
        self._file.close()


class Bundles(BundleStore):
    """In memory."""

    def __init__(self) -> None:
        self.published: dict[JobId, bytes] = {}
        self.open_files = 0
        self.synced = 0
        self.make_file: Callable[[], BinaryIO] = io.BytesIO
        self.receive_error: Exception | None = None
        self.publish_error: Exception | None = None

    def receive(self) -> IncomingBundle:
        if self.receive_error is not None:
            raise self.receive_error
        self.open_files += 1
        return Incoming(self, self.make_file())

    def open(self, job_id: JobId) -> BinaryIO:
        return io.BytesIO(self.published[job_id])

    def delete(self, job_id: JobId) -> None:
        self.published.pop(job_id, None)

    def job_ids(self) -> Iterator[JobId]:
        return iter(list(self.published))


class Jobs(MemoryRepository):
    def __init__(self) -> None:
        super().__init__()
        self.submit_error: Exception | None = None

    async def submit(
        self, submission: Submission, publish: Callable[[], None], times: JobTimes = NO_TIMES
    ) -> tuple[Job, bool]:
        if self.submit_error is not None:
            raise self.submit_error
        return await super().submit(submission, publish, times)


class NoContents(ContentStore):
    """Keeps nothing."""

    def held(self, user_id: UserId, digests: Collection[bytes]) -> Collection[bytes]:
        return ()

    def compose(
        self, user_id: UserId, changes: Changes, target: BinaryIO, max_bytes: int
    ) -> Sequence[Content]:
        raise ContentsGone("nothing is kept")

    def keep(self, user_id: UserId, job_id: JobId, contents: Sequence[Content]) -> None:
        return

    def sweep(self) -> None:
        return


class Silence:
    async def wait(self, timeout_seconds: float) -> Wake:
        await asyncio.Event().wait()
        raise AssertionError


class World:
    """An application with its storage."""

    def __init__(self) -> None:
        self.jobs = Jobs()
        self.bundles = Bundles()
        self.open_error: Exception | None = None
        self.key: NewKey = new_key()
        self.app: FastAPI = create_app(ServerSettings(), self.opened, retry_seconds=0.05)

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[Storage]:
        if self.open_error is not None:
            raise self.open_error
        yield Storage(jobs=self.jobs, bundles=self.bundles, contents=NoContents(), changes=Silence())

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key.text}"}

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[httpx.AsyncClient]:
        user = await self.jobs.create_user("ann", "ann@example.org")
        await self.jobs.create_key(user.id, "k", self.key.prefix, self.key.digest, None)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with (
            self.app.router.lifespan_context(self.app),
            httpx.AsyncClient(transport=transport, base_url="http://server") as client,
        ):
            yield client


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("requirements.txt", "pytest\n")
    return file.getvalue()


async def submit(world: World, client: httpx.AsyncClient) -> httpx.Response:
    files = {"file": ("p.zip", archive())}
    return await client.post("/submit-async", headers=world.headers, files=files)


async def test_a_submission_is_synced_before_it_is_published() -> None:
    world = World()
    async with world.client() as client:
        answer = await submit(world, client)
    assert answer.status_code == 202
    assert list(world.bundles.published) == [answer.json()["job_id"]]
    assert (world.bundles.synced, world.bundles.open_files) == (1, 0)


async def test_a_question_does_not_wait_behind_uploads_that_are_judged() -> None:
    world = World()
    judging, may_go_on = threading.Semaphore(0), threading.Event()
    world.bundles.make_file = lambda: HeldFile(judging, may_go_on)
    async with world.client() as client:
        uploads = [asyncio.create_task(submit(world, client)) for _ in range(3)]
        for _ in range(2):
            await asyncio.to_thread(judging.acquire)
        try:
            question = client.post("/contents/missing", headers=world.headers, content=b"x" * 32)
            answer = await asyncio.wait_for(question, PATIENCE_SECONDS)
        finally:
            may_go_on.set()
        assert answer.json() == {"missing": [0]}
        assert [(await upload).status_code for upload in uploads] == [202] * 3


async def test_below_the_reserve_of_disk_nothing_is_received() -> None:
    world = World()
    world.bundles.receive_error = StorageFull("too little disk space is left")
    async with world.client() as client:
        answer = await submit(world, client)
    assert (answer.status_code, answer.json()) == (507, {"detail": "too little disk space is left"})


async def test_a_disk_that_fills_up_meanwhile_is_said() -> None:
    world = World()
    world.bundles.make_file = FullFile
    async with world.client() as client:
        answer = await submit(world, client)
    assert answer.status_code == 507
    assert "disk is full" in answer.json()["detail"]
    assert (world.bundles.published, world.bundles.open_files) == ({}, 0)


@pytest.mark.parametrize(
    ("error", "status"),
    [(StorageFull("the log has grown"), 503), (StorageBusy("locked"), 503), (RuntimeError("?"), 500)],
)
async def test_a_database_that_refuses_leaves_nothing(error: Exception, status: int) -> None:
    world = World()
    world.jobs.submit_error = error
    async with world.client() as client:
        answer = await submit(world, client)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)
    assert "?" not in answer.json()["detail"]
    assert (world.bundles.published, world.bundles.open_files) == ({}, 0)


async def test_a_bundle_that_cannot_be_published_makes_no_job() -> None:
    world = World()
    world.bundles.publish_error = StorageFull("no room")
    async with world.client() as client:
        assert (await submit(world, client)).status_code == 503
        assert (await client.get("/jobs", headers=world.headers)).json() == []
    assert world.bundles.open_files == 0


async def test_a_sender_who_has_left_gets_no_job() -> None:
    world = World()
    request = httpx.Request("POST", "http://server/submit", files={"file": ("p.zip", archive())})
    messages: list[dict[str, object]] = [
        {"type": "http.request", "body": request.read(), "more_body": False},
    ]

    async def receive() -> dict[str, object]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: object) -> None:
        assert message

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/submit-async",
        "raw_path": b"/submit-async",
        "query_string": b"",
        "headers": [
            (b"authorization", world.headers["Authorization"].encode()),
            (b"content-type", request.headers["content-type"].encode()),
            (b"content-length", request.headers["content-length"].encode()),
        ],
    }
    async with world.client() as client:
        await world.app(scope, receive, send)  # pyright: ignore[reportArgumentType] - ASGI's types are open
        assert (await client.get("/jobs", headers=world.headers)).json() == []
    assert (world.bundles.published, world.bundles.open_files) == ({}, 0)


async def test_it_waits_for_an_older_database_and_says_so() -> None:
    world = World()
    world.open_error = SchemaOutdated("the database is older")
    async with world.client() as client:
        for path in ("/readyz", "/me", "/jobs"):
            answer = await client.get(path, headers=world.headers)
            assert (answer.status_code, answer.json()) == (503, {"detail": "the database is older"})
        assert (await client.get("/health")).status_code == 200
        world.open_error = OSError("no such folder")
        await until(client, 503, "no such folder")
        world.open_error = None
        await until(client, 200, "")
        assert (await client.get("/me", headers=world.headers)).status_code == 200


async def until(client: httpx.AsyncClient, status: int, detail: str) -> None:
    """Ask whether it is ready until that is the answer; the test's own time limit is the bound."""
    while True:
        answer = await client.get("/readyz")
        if answer.status_code == status and answer.json().get("detail", "") == detail:
            return
        await asyncio.sleep(0.01)
