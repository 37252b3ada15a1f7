"""Ctrl-C, SIGTERM, closed terminals and pipes, as a user has them."""

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest

from ci_common.models import JobStatus, Outcome
from tests.e2e.processes import command
from tests.integration.client.client_command import Client
from tests.integration.client.worker import Worker, finished


def piped(client: Client, project: Path, *argv: str) -> subprocess.Popen[bytes]:
    """A submission whose pipes are in the test's own hands."""
    return subprocess.Popen(
        argv or [command("ci"), "submit", "test"],
        env=client.environ,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_cancels_the_submitted_job(
    client: Client, project: Path, worker: Worker, number: signal.Signals, code: int
) -> None:
    running = client.start("submit", "test", cwd=project)
    job_id = await worker.started()
    await worker.print(job_id, "before\n")
    await asyncio.to_thread(running.stdout.wait_for, b"before\n")
    running.send(number)
    assert await worker.obey_cancellation() == job_id
    done = await finished(running)
    assert (done.exit_code, done.stdout) == (code, b"before\n")
    assert f"cancelled (job {job_id})" in done.stderr.splitlines()[-1]


async def test_the_last_words_of_a_cancelled_job_are_shown(
    client: Client, project: Path, worker: Worker
) -> None:
    running = client.start("submit", "test", cwd=project)
    job_id = await worker.started()
    await asyncio.to_thread(running.stderr.wait_for, b"Job ID")
    running.send(signal.SIGINT)
    await worker.until(lambda jobs: jobs[0].cancel_reason, "a cancellation")
    await worker.print(job_id, "cleaning up\n")
    await worker.complete(job_id, None, Outcome.CANCELLED)
    done = await finished(running)
    assert (done.exit_code, done.stdout) == (130, b"cleaning up\n")


async def test_a_queued_job_is_cancelled_at_once(client: Client, project: Path, worker: Worker) -> None:
    running = client.start("submit", "test", cwd=project)
    job_id = await worker.submitted()
    running.send(signal.SIGINT)
    done = await finished(running)
    assert done.exit_code == 130
    assert f"cancelled (job {job_id})" in done.stderr
    job = (await worker.jobs())[0]
    assert (job.status, job.outcome) == (JobStatus.COMPLETED, Outcome.CANCELLED)


async def test_a_second_signal_leaves_at_once(client: Client, project: Path, worker: Worker) -> None:
    running = client.start("submit", "test", cwd=project)
    await worker.started()
    await asyncio.to_thread(running.stderr.wait_for, b"Job ID")
    running.send(signal.SIGINT)
    await asyncio.to_thread(running.stderr.wait_for, b"once more leaves at once")
    running.send(signal.SIGINT)
    assert (await finished(running)).exit_code == 130


async def test_waiting_can_be_stopped_and_the_job_goes_on(
    client: Client, project: Path, worker: Worker
) -> None:
    await finished(client.start("submit", "test", "--async", cwd=project))
    job_id = await worker.started()
    running = client.start("wait", job_id[:8], "--all")
    await worker.print(job_id, "hello\n")
    await asyncio.to_thread(running.stdout.wait_for, b"hello\n")
    running.send(signal.SIGINT)
    done = await finished(running)
    assert done.exit_code == 130
    assert f"Stopped waiting; job {job_id} continues to run. Come back with: ci wait {job_id}" in done.stderr
    assert (await worker.jobs())[0].cancel_reason is None


async def test_ctrl_c_on_a_terminal(client: Client, project: Path, worker: Worker) -> None:
    terminal = client.on_terminal("submit", "test", cwd=project)
    job_id = await worker.started()
    await worker.print(job_id, "half a line")
    await asyncio.to_thread(terminal.wait_for, b"half a line")
    terminal.type(b"\x03")
    await worker.obey_cancellation()
    code, seen = await asyncio.to_thread(terminal.finish)
    assert code == 130
    assert b"half a line^C\r\n" in seen
    assert b"cancelled" in seen


async def test_a_closed_terminal_leaves_the_job_running(
    client: Client, project: Path, worker: Worker
) -> None:
    terminal = client.on_terminal("submit", "test", cwd=project)
    job_id = await worker.started()
    await asyncio.to_thread(terminal.wait_for, b"Job ID")
    terminal.hang_up()
    code, _ = await asyncio.to_thread(terminal.finish)
    assert code == -signal.SIGHUP
    await worker.print(job_id, "nobody reads this\n")
    assert (await worker.jobs())[0].cancel_reason is None


async def test_a_closed_pipe_leaves_the_job_running(client: Client, project: Path, worker: Worker) -> None:
    process = piped(client, project)
    assert process.stdout is not None
    job_id = await worker.started()
    process.stdout.close()
    await worker.print(job_id, "nobody reads this\n")
    _, stderr = await asyncio.to_thread(process.communicate)
    assert process.returncode == 141
    assert f"the job goes on, come back to it with: ci wait {job_id}" in stderr.decode()
    assert (await worker.jobs())[0].cancel_reason is None


async def test_signals_that_were_ignored_stay_ignored(client: Client, project: Path, worker: Worker) -> None:
    process = piped(client, project, "sh", "-c", "trap '' INT; exec \"$0\" submit test", command("ci"))
    job_id = await worker.started()
    process.send_signal(signal.SIGINT)
    await worker.print(job_id, "on it goes\n")
    await worker.complete(job_id)
    stdout, _ = await asyncio.to_thread(process.communicate)
    assert (process.returncode, stdout) == (0, b"on it goes\n")


async def test_ctrl_c_while_a_reader_stands_still(client: Client, project: Path, worker: Worker) -> None:
    """The working thread is stuck in a write; the signal must get through all the same."""
    process = piped(client, project)
    job_id = await worker.started()
    for _ in range(5):
        await worker.print(job_id, "x" * 60_000)
    assert process.stderr is not None
    await asyncio.to_thread(process.stderr.readline)
    process.send_signal(signal.SIGINT)
    await worker.obey_cancellation()
    assert await asyncio.to_thread(process.wait) == 130
    process.communicate()
