"""Another process of the same installation, which does what it is told, line by line.

    python -m tests.integration.persistence.child DATABASE

Reads one command a line from stdin, answers each with one line on stdout. `Child` is its handle.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ci_common.clock import utc_now
from ci_common.event_data import log_data, notice_data
from ci_common.ids import ContainerId, Fence, InstanceId, JobId, KeyId, UserId
from ci_common.models import LogPosition, Phase, Reason, Submission, SubmitOptions
from ci_persistence.announcements import Audience
from ci_persistence.bundle_files import DirectoryBundleStore
from ci_persistence.data_paths import wake_dir_of
from ci_persistence.sqlite_repository import SQLiteJobRepository
from ci_persistence.wake_socket import WakeSocket

ROOT = Path(__file__).parents[3]
ANSWER_SECONDS = 60
LISTENING: list[WakeSocket] = []


class Child:
    """The process seen from a test."""

    def __init__(self, db_path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(db_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self._answer() == "ready"

    @property
    def pid(self) -> int:
        return self._process.pid

    def do(self, *words: str) -> str:
        """Tell it and wait for its answer."""
        self.begin(*words)
        return self._answer()

    def begin(self, *words: str) -> None:
        """Tell it without waiting."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")

    def end(self) -> str:
        """What it answers to `begin`; empty if it died."""
        return self._answer()

    def kill(self) -> None:
        """SIGKILL, also of one that is dead."""
        self._process.kill()
        self._process.communicate(timeout=ANSWER_SECONDS)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")


def submission(user_id: str, key_id: str, job_id: str) -> Submission:
    return Submission(
        job_id=JobId(job_id),
        user_id=UserId(user_id),
        key_id=KeyId(key_id),
        options=SubmitOptions(),
        bundle_bytes=1,
        submit_time=utc_now(),
    )


async def _answer_commands(db_path: Path) -> None:
    repository = SQLiteJobRepository(db_path)
    await repository.initialize()
    print("ready", flush=True)
    while command := await asyncio.to_thread(sys.stdin.readline):
        print(await _obey(repository, db_path, command.split()), flush=True)
    await repository.close()


async def _obey(repository: SQLiteJobRepository, db_path: Path, words: list[str]) -> str:
    match words:
        case ["submit", user_id, key_id, job_id]:
            await repository.submit(submission(user_id, key_id, job_id), lambda: None)
        case ["submit-and-die", when, user_id, key_id, job_id]:
            await _submit_and_die(repository, db_path, when, submission(user_id, key_id, job_id))
        case ["cancel", job_id]:
            await repository.request_cancel(JobId(job_id), Reason.CANCELLED_BY_USER)
        case ["notice", fence, job_id, count]:
            for number in range(int(count)):
                await repository.add_events(Fence(int(fence)), JobId(job_id), [notice_data(str(number))])
        case ["log", fence, job_id, container, first, count]:
            for offset in range(int(first), int(first) + int(count)):
                text = log_data(Phase.TEST, f"{offset}\n")
                await repository.append(
                    Fence(int(fence)), JobId(job_id), ContainerId(container), [text], LogPosition(offset)
                )
        case ["users", prefix, count]:
            for number in range(int(count)):
                await repository.create_user(prefix, f"{prefix}-{number}@example.org")
        case ["lock"]:
            await asyncio.to_thread(_hold_lock, db_path)
        case ["listen"]:
            LISTENING.append(WakeSocket.open(wake_dir_of(db_path), Audience.SERVER))
        case ["pin"]:
            await asyncio.to_thread(_hold_read, db_path)
        case _:
            raise AssertionError(words)
    return "done"


async def _submit_and_die(
    repository: SQLiteJobRepository, db_path: Path, when: str, wanted: Submission
) -> None:
    bundles = DirectoryBundleStore(db_path.parent, InstanceId("instance"))
    incoming = bundles.receive()
    incoming.file.write(b"bundle")

    def publish() -> None:
        if when == "before-publish":
            _die()
        incoming.publish(wanted.job_id)
        if when == "after-publish":
            _die()

    await repository.submit(wanted, publish)
    assert when == "after-commit"
    _die()


def _die() -> None:
    os.kill(os.getpid(), 9)


def _hold_lock(db_path: Path) -> None:
    _hold(db_path, lambda sql: sql.execute("BEGIN IMMEDIATE"))


def _hold_read(db_path: Path) -> None:
    def read(sql: sqlite3.Connection) -> object:
        sql.execute("BEGIN")
        return sql.execute("SELECT count(*) FROM events").fetchone()

    _hold(db_path, read)


def _hold(db_path: Path, begin: Callable[[sqlite3.Connection], object]) -> None:
    with closing(sqlite3.connect(db_path, isolation_level=None)) as sql:
        begin(sql)
        print("held", flush=True)
        sys.stdin.readline()
        sql.execute("ROLLBACK")


if __name__ == "__main__":
    asyncio.run(_answer_commands(Path(sys.argv[1])))
