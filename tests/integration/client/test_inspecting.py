"""`wait`, `list`, `status`, `logs` and `cancel` against the real server."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from ci_common.ids import JobId
from ci_common.models import Outcome, Phase, Reason
from ci_persistence.sqlite_repository import SQLiteJobRepository
from tests.e2e.processes import command
from tests.integration.client.client_command import Client
from tests.integration.client.worker import Worker, finished
from tests.integration.server.serving import new_account

NOBODYS = "00000000-0000-4000-8000-000000000000"


async def submitted(client: Client, project: Path, worker: Worker) -> JobId:
    done = await finished(client.start("submit", "test", "--async", cwd=project))
    assert done.exit_code == 0, done.stderr
    return await worker.submitted()


async def test_wait_shows_only_what_is_new(client: Client, project: Path, worker: Worker) -> None:
    await submitted(client, project, worker)
    job_id = await worker.started()
    await worker.print(job_id, "old\n")
    running = client.start("wait", job_id)
    printed = 0
    while not running.stdout.seen():  # until the first thing that is new has been seen
        printed += 1
        await worker.print(job_id, f"new {printed}\n")
        await asyncio.sleep(0.1)
    await worker.complete(job_id, 1)
    done = await finished(running)
    assert done.exit_code == 1
    assert re.fullmatch(rb"(new \d+\n)+", done.stdout)
    assert done.stdout.endswith(f"new {printed}\n".encode())
    assert "failed with exit code 1" in done.stderr


async def test_wait_all_begins_at_the_first_line(client: Client, project: Path, worker: Worker) -> None:
    await submitted(client, project, worker)
    job_id = await worker.started()
    await worker.print(job_id, "installing\n", phase=Phase.INSTALL)
    for number in range(300):
        await worker.print(job_id, f"{number}\n")
    running = client.start("wait", job_id[:8], "--all")
    await worker.complete(job_id, 3)
    done = await finished(running)
    assert done.stdout.decode() == "".join(f"{number}\n" for number in range(300))
    assert "installing\n" in done.stderr
    assert done.exit_code == 3


async def test_waiting_for_a_completed_job(client: Client, project: Path, worker: Worker) -> None:
    job_id = await submitted(client, project, worker)
    await worker.driver.start(job_id)
    await worker.print(job_id, "out\n")
    await worker.complete(job_id, 2)
    done = await finished(client.start("wait", job_id))
    assert (done.exit_code, done.stdout) == (2, b"")
    assert done.stderr.splitlines()[0] == "Job already completed"
    replayed = await finished(client.start("wait", job_id, "--all"))
    assert (replayed.exit_code, replayed.stdout) == (2, b"out\n")


@pytest.mark.parametrize("verb", ["wait", "status", "logs", "cancel"])
@pytest.mark.parametrize("job", [NOBODYS, "nonsense", "abc", "\x1b[2J"])
async def test_a_job_that_is_not_there_is_66(client: Client, verb: str, job: str) -> None:
    done = await finished(client.start(verb, job))
    assert (done.exit_code, done.stdout) == (66, b"")
    assert "`ci list` shows yours" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr


async def test_another_users_job_is_not_there(
    client: Client, project: Path, worker: Worker, repository: SQLiteJobRepository
) -> None:
    job_id = await submitted(client, project, worker)
    stranger = await new_account(repository, "eve")
    for verb in ("wait", "status", "logs", "cancel"):
        done = await finished(client.start(verb, job_id, "--api-key", stranger.key))
        assert done.exit_code == 66


async def test_list_as_table_and_json(client: Client, project: Path, worker: Worker) -> None:
    empty = await finished(client.start("list"))
    assert (empty.exit_code, empty.stdout) == (0, b"")
    assert "no jobs yet" in empty.stderr
    ids = [await submitted(client, project, worker) for _ in range(3)]
    await worker.driver.start(ids[0])
    await worker.complete(ids[0])
    await worker.driver.start(ids[1])
    await worker.complete(ids[1], 1)
    table = (await finished(client.start("list"))).stdout.decode().splitlines()
    assert re.split(r"  +", table[0])[:5] == ["JOB ID", "STATUS", "SUCCESS", "START TIME", "END TIME"]
    assert [line.split()[:3] for line in table[1:]] == [
        [ids[2], "queued", "-"],
        [ids[1], "completed", "✗"],
        [ids[0], "completed", "✓"],
    ]
    listed = json.loads((await finished(client.start("list", "--json"))).stdout)
    assert [job["job_id"] for job in listed] == ids[::-1]
    assert [job["success"] for job in listed] == [None, False, True]
    one = await finished(client.start("list", "--json", "--limit", "1"))
    assert [job["job_id"] for job in json.loads(one.stdout)] == [ids[2]]
    assert "more than 1" in one.stderr
    queued = await finished(client.start("list", "--json", "--status", "queued"))
    assert [job["job_id"] for job in json.loads(queued.stdout)] == [ids[2]]
    assert queued.stderr == ""
    nothing = await finished(client.start("list", "--json", "--status", "running"))
    assert json.loads(nothing.stdout) == []


async def test_status_for_people_and_scripts(client: Client, project: Path, worker: Worker) -> None:
    job_id = await submitted(client, project, worker)
    await worker.driver.start(job_id)
    await worker.complete(job_id, None, Outcome.ERROR, Reason.INSTALL_FAILED)
    shown = await finished(client.start("status", job_id[:6].upper()))
    assert shown.exit_code == 0
    assert f"Job ID:    {job_id}\n" in shown.stdout.decode()
    assert "Outcome:   error (install_failed)\n" in shown.stdout.decode()
    data = json.loads((await finished(client.start("status", job_id, "--json"))).stdout)
    assert (data["job_id"], data["outcome"], data["reason"]) == (job_id, "error", "install_failed")


async def test_status_tells_where_the_time_went(client: Client, project: Path, worker: Worker) -> None:
    job_id = await submitted(client, project, worker)
    await worker.driver.start(job_id)
    await worker.complete(job_id, 0)
    plain = (await finished(client.start("status", job_id))).stdout.decode()
    shown = (await finished(client.start("status", job_id, "--timing"))).stdout.decode()
    assert shown.startswith(plain)
    head, *phases = shown.removeprefix(plain).splitlines()[1:]
    assert re.split(r"  +", head) == ["PHASE", "START ms", "DURATION ms"]
    names = [re.split(r"  +", phase)[0] for phase in phases]
    assert names == ["server: receive", "server: check archive", "server: store"]
    data = json.loads((await finished(client.start("status", job_id, "--timing", "--json"))).stdout)
    assert next(iter(data["timing"])) == "received"
    assert data["timing"]["completed"] == data["end_time"]


async def test_logs_are_the_tests_output(client: Client, project: Path, worker: Worker) -> None:
    job_id = await submitted(client, project, worker)
    await worker.driver.start(job_id)
    await worker.print(job_id, "resolving\n", phase=Phase.INSTALL)
    await worker.print(job_id, "one ü\r\n", "two\x00")
    done = await finished(client.start("logs", job_id))
    assert (done.exit_code, done.stdout, done.stderr) == (0, "one ü\r\ntwo\x00".encode(), "")
    everything = await finished(client.start("logs", job_id, "--all"))
    assert everything.stdout == "resolving\none ü\r\ntwo\x00".encode()


async def test_logs_of_a_failed_installation_point_to_it(
    client: Client, project: Path, worker: Worker
) -> None:
    job_id = await submitted(client, project, worker)
    await worker.driver.start(job_id)
    await worker.print(job_id, "no such package\n", phase=Phase.INSTALL)
    await worker.complete(job_id, None, Outcome.ERROR, Reason.INSTALL_FAILED)
    done = await finished(client.start("logs", job_id))
    assert (done.exit_code, done.stdout) == (0, b"")
    assert f"ci wait --all {job_id}" in done.stderr


async def test_cancel(client: Client, project: Path, worker: Worker) -> None:
    queued = await submitted(client, project, worker)
    done = await finished(client.start("cancel", queued))
    assert (done.exit_code, done.stdout) == (0, f"Job {queued} cancelled\n".encode())
    again = await finished(client.start("cancel", queued))
    assert (again.exit_code, again.stdout) == (0, f"Job {queued} already completed: cancelled\n".encode())
    running = await submitted(client, project, worker)
    await worker.driver.start(running)
    done = await finished(client.start("cancel", running))
    assert (done.exit_code, done.stdout) == (0, f"Job {running} is being cancelled\n".encode())
    await worker.obey_cancellation()
    status = await finished(client.start("status", running))
    assert "cancelled" in status.stdout.decode()


async def test_whoever_reads_a_list_may_leave_in_the_middle(
    client: Client, project: Path, worker: Worker
) -> None:
    await submitted(client, project, worker)
    reading, writing = os.pipe()
    os.close(reading)  # gone before anything was written
    process = await asyncio.create_subprocess_exec(
        command("ci"), "list", env=client.environ, stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (141, b"")


async def test_a_full_disk_behind_stdout_is_named(client: Client, project: Path, worker: Worker) -> None:
    job_id = await submitted(client, project, worker)
    await worker.driver.start(job_id)
    await worker.print(job_id, "x" * 60_000)
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", 'exec "$0" wait "$1" --all > /dev/full', command("ci"), job_id,
        env=client.environ, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, stderr = await shell.communicate()
    assert shell.returncode == 70
    assert b"No space left on device; the job goes on, come back to it with: ci wait" in stderr


async def test_a_narrow_terminal_shows_ids_that_can_be_used(
    client: Client, project: Path, worker: Worker
) -> None:
    job_id = await submitted(client, project, worker)
    terminal = client.on_terminal("list")
    code, seen = await asyncio.to_thread(terminal.finish)
    assert code == 0
    assert job_id.encode() in seen
    assert max(map(len, seen.decode().splitlines())) <= 100
