"""A real server process on a free port, and the words to talk to it."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from httpx_sse import aconnect_sse

from ci_common.api_keys import new_key
from ci_common.event_data import EventData, log_data
from ci_common.ids import ContainerId, Fence, JobId, UserId
from ci_common.models import Job, LeaseHolder, LogPosition, Phase, Run, Stage
from ci_persistence.sqlite_repository import SQLiteJobRepository

START_SECONDS = 30
_LISTENING = re.compile(r"Uvicorn running on http://127\.0\.0\.1:(\d+)")


class ServerProcess:
    """One replica; `stop` it, or `kill` it."""

    def __init__(
        self,
        db_path: Path,
        log_path: Path,
        settings: Mapping[str, str] | None = None,
        command: Sequence[str] = ("ci_server", "--port", "0"),
    ) -> None:
        self._log_path = log_path
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CI_")}
        environment.update({"CI_DB_PATH": str(db_path), **(settings or {})})
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], stderr=log, stdout=log, env=environment
            )
        self.url = f"http://127.0.0.1:{self._port()}"

    def log(self) -> str:
        return self._log_path.read_text()

    def _port(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = _LISTENING.search(self.log())
            if found is not None:
                return int(found[1])
            assert self.process.poll() is None, self.log()
            time.sleep(0.02)
        raise AssertionError(f"the server doesn't start: {self.log()}")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it as an administrator would; nothing went wrong in its life."""
        if self.process.poll() is None:
            self.terminate()
            self.process.wait(timeout=START_SECONDS)
        log = self.log()
        assert "Traceback" not in log, log
        assert "ERROR" not in log, log


@dataclass(frozen=True)
class Account:
    """A user with a key."""

    user_id: UserId
    key: str
    key_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


async def new_account(repository: SQLiteJobRepository, name: str = "ann") -> Account:
    key = new_key()
    user = await repository.create_user(name, f"{name}-{key.prefix}@example.org")
    stored = await repository.create_key(user.id, "laptop", key.prefix, key.digest, None)
    return Account(user_id=user.id, key=key.text, key_id=stored.id)


def project(files: Mapping[str, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (files or {"requirements.txt": b"pytest\n"}).items():
            archive.writestr(name, data)
    return file.getvalue()


def form(archive: bytes | None = None, options: object = None) -> dict[str, Any]:
    """Keyword arguments that make httpx send a submission."""
    files: dict[str, Any] = {"file": ("project.zip", project() if archive is None else archive)}
    if options is not None:
        files["options"] = (None, json.dumps(options))
    return {"files": files}


class Driver:
    """Plays the controller: brings jobs forward through the repository."""

    def __init__(self, repository: SQLiteJobRepository, fence: Fence) -> None:
        self.repository = repository
        self.fence = fence
        self._offset_bytes = 0

    @classmethod
    async def leading(cls, repository: SQLiteJobRepository) -> "Driver":
        lease = await repository.lease()
        holder = LeaseHolder(pid=os.getpid(), start_ticks=1, boot_id="boot")
        taken = await repository.take_lease(holder, None if lease is None else lease.fence)
        return cls(repository, taken.fence)

    async def start(self, job_id: JobId) -> None:
        run = Run(
            stage=Stage.TEST, container_id=ContainerId(f"c-{job_id}"), fence=self.fence, environment=None
        )
        assert await self.repository.bind_run(self.fence, job_id, run) is not None

    async def print(self, job_id: JobId, *texts: str, phase: Phase = Phase.TEST) -> Job:
        return await self.append(job_id, [log_data(phase, text) for text in texts])

    async def append(self, job_id: JobId, events: list[EventData]) -> Job:
        self._offset_bytes += 1
        job = await self.repository.append(
            self.fence, job_id, ContainerId(f"c-{job_id}"), events, LogPosition(self._offset_bytes)
        )
        assert job is not None
        return job


@dataclass(frozen=True)
class Seen:
    """An event as a client sees it."""

    id: str
    type: str
    data: dict[str, Any]


async def events_of(
    client: httpx.AsyncClient, path: str, headers: Mapping[str, str], **kwargs: Any
) -> AsyncGenerator[Seen]:
    """The events of a stream, the bare position as type `position`."""
    async with aconnect_sse(client, "GET", path, headers=dict(headers), **kwargs) as source:
        assert source.response.status_code == 200, await source.response.aread()
        async for event in source.aiter_sse():
            if event.data:
                yield Seen(event.id, event.event, json.loads(event.data))
            else:
                yield Seen(event.id, "position", {})


def text_of(events: list[Seen]) -> str:
    return "".join(event.data["data"] for event in events if event.type == "log")


async def submitted(client: httpx.AsyncClient, account: Account) -> JobId:
    answer = await client.post("/submit-async", headers=account.headers, **form())
    assert answer.status_code == 202, answer.text
    return JobId(answer.json()["job_id"])
