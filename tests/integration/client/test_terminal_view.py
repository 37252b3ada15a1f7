"""What a terminal gets to see, and what a pipe gets instead."""

import asyncio
from pathlib import Path

from ci_common.models import Phase
from tests.e2e.processes import command
from tests.integration.client.client_command import Client
from tests.integration.client.worker import Worker, finished

HOSTILE = "\x1b[32mgreen\x1b[0m\rbar\x08\t\x1b[K\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\x1bc end\n"


async def test_a_terminal_is_coloured_but_not_taken_over(
    client: Client, project: Path, worker: Worker
) -> None:
    terminal = client.on_terminal("submit", "test", cwd=project)
    job_id = await worker.started()
    await worker.print(job_id, HOSTILE)
    await worker.print(job_id, HOSTILE, phase=Phase.INSTALL)
    await worker.complete(job_id)
    code, seen = await asyncio.to_thread(terminal.finish)
    shown = "\x1b[32mgreen\x1b[0m\rbar\x08\t\x1b[K␛]52;c;aGk=␇␛[2J�31m␛c end\r\n"
    assert code == 0
    assert seen.decode().count(shown) == 2
    job = (await worker.jobs())[0]
    assert (job.options.color, job.options.columns) == (True, 100)


async def test_a_pipe_gets_everything_as_it_is(client: Client, project: Path, worker: Worker) -> None:
    running = client.start("submit", "test", cwd=project)
    job_id = await worker.started()
    await worker.print(job_id, HOSTILE)
    await worker.print(job_id, HOSTILE, phase=Phase.INSTALL)
    await worker.complete(job_id)
    done = await finished(running)
    assert done.stdout == HOSTILE.encode()
    assert HOSTILE in done.stderr
    await finished(client.start("logs", job_id))


async def test_without_colours_nothing_of_ours_is_coloured(
    client: Client, project: Path, worker: Worker
) -> None:
    terminal = client.on_terminal("submit", "test", cwd=project, NO_COLOR="1")
    job_id = await worker.started()
    await worker.complete(job_id, 1)
    code, seen = await asyncio.to_thread(terminal.finish)
    assert code == 1
    assert b"\x1b[3" not in seen
    assert not (await worker.jobs())[0].options.color


async def test_the_result_never_shares_a_line_with_output(
    client: Client, project: Path, worker: Worker
) -> None:
    terminal = client.on_terminal("submit", "test", cwd=project, NO_COLOR="1")
    job_id = await worker.started()
    await worker.print(job_id, "\x1b[31mred without an end")
    await worker.complete(job_id)
    _, seen = await asyncio.to_thread(terminal.finish)
    assert "\x1b[31mred without an end\x1b[0m\r\nci: ✓ passed" in seen.decode()


async def test_marks_have_a_fallback_where_the_terminal_lacks_them(
    client: Client, project: Path, worker: Worker
) -> None:
    client.environ.update(PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    running = client.start("submit", "test", cwd=project)
    job_id = await worker.started()
    await worker.print(job_id, "naïve\n")
    await worker.complete(job_id)
    done = await finished(running)
    assert "ci: + passed" in done.stderr
    assert done.stdout == "naïve\n".encode()
    listed = await finished(client.start("list"))
    assert b" yes " in listed.stdout


async def test_stdout_closed_from_the_start_is_no_fault(
    client: Client, project: Path, worker: Worker
) -> None:
    running = client.start("submit", "test", cwd=project)
    job_id = await worker.started()
    await worker.complete(job_id)
    await finished(running)
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", 'exec "$0" wait "$1" --all >&- 2>&-', command("ci"), job_id,
        env=client.environ,
    )  # fmt: skip
    assert await shell.wait() == 0
