import asyncio
import json
import sys
from pathlib import Path

import pytest

from ci_common.models import Outcome, Phase, Reason
from tests.integration.client.client_command import Client, make_project
from tests.integration.client.worker import Worker, finished

OUTPUTS = [
    "",
    "one line\n",
    "no newline at the end",
    "\n\n\r\n\rblank\n\r\n",
    "\x00\x1b[31mred\x1b]0;title\x07\x7f\n",
    "ünïcödé \U0001f600 \u2028 \x85 \ufffd\n",
    "data: not an event\n\nid: 99\n\n",
    "x" * 1_100_000 + "\n",
]


@pytest.mark.parametrize("output", OUTPUTS)
async def test_stdout_is_exactly_what_the_tests_print(
    client: Client, project: Path, worker: Worker, output: str
) -> None:
    running = client.start("submit", "test", str(project))
    job_id = await worker.started()
    await worker.print(job_id, "collecting packages\n", phase=Phase.INSTALL)
    for start in range(0, len(output), 60_000):
        await worker.print(job_id, output[start : start + 60_000])
    await worker.complete(job_id)
    done = await finished(running)
    assert done.stdout == output.encode()
    assert done.exit_code == 0
    assert f"Job ID: {job_id}\n" in done.stderr
    assert "collecting packages\n" in done.stderr
    assert "passed" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("exit_code", "outcome", "reason", "expected", "words"),
    [
        (0, Outcome.PASSED, None, 0, "passed"),
        (1, Outcome.FAILED, None, 1, "failed with exit code 1"),
        (5, Outcome.FAILED, None, 5, "failed with exit code 5"),
        (139, Outcome.FAILED, None, 139, "SIGSEGV"),
        (None, Outcome.ERROR, Reason.INSTALL_FAILED, 65, "installing requirements.txt failed"),
        (None, Outcome.ERROR, Reason.PYTEST_MISSING, 65, "pytest is not installed"),
        (None, Outcome.TIMED_OUT, Reason.TIME_LIMIT, 124, "CI_JOB_TIMEOUT_SECONDS"),
        (None, Outcome.OUT_OF_MEMORY, Reason.MEMORY_LIMIT, 137, "CI_JOB_MEMORY"),
        (None, Outcome.LOST, Reason.INFRASTRUCTURE, 75, "submit again"),
        (None, Outcome.CANCELLED, Reason.CANCELLED_BY_ADMIN, 130, "administrator"),
    ],
)
async def test_every_outcome_has_its_exit_code_and_line(
    client: Client,
    project: Path,
    worker: Worker,
    exit_code: int | None,
    outcome: Outcome,
    reason: Reason | None,
    expected: int,
    words: str,
) -> None:
    running = client.start("submit", "test", str(project))
    job_id = await worker.started()
    await worker.complete(job_id, exit_code, outcome, reason)
    done = await finished(running)
    assert done.exit_code == expected
    assert words in done.stderr.splitlines()[-1]
    assert done.stdout == b""


async def test_async_prints_the_id_and_leaves(client: Client, project: Path, worker: Worker) -> None:
    done = await finished(client.start("submit", "test", str(project), "--async"))
    job_id = await worker.submitted()
    assert (done.exit_code, done.stdout) == (0, f"Job submitted: {job_id}\n".encode())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], None),
        (["--"], ()),
        (["--", "-k", "x or y", "--", "-v"], ("-k", "x or y", "--", "-v")),
    ],
)
async def test_what_stands_behind_the_dashes_is_for_pytest(
    client: Client, project: Path, worker: Worker, arguments: list[str], expected: tuple[str, ...] | None
) -> None:
    done = await finished(client.start("submit", "test", "--async", *arguments, cwd=project))
    assert done.exit_code == 0, done.stderr
    job = (await worker.jobs())[0]
    assert job.options.pytest_args == expected
    assert (job.options.color, job.options.columns, job.options.fresh) == (False, None, False)


async def test_fresh_is_passed_on(client: Client, project: Path, worker: Worker) -> None:
    await finished(client.start("submit", "test", "--async", "--fresh", cwd=project))
    assert (await worker.jobs())[0].options.fresh


async def test_the_project_arrives_as_it_is(client: Client, project: Path, worker: Worker) -> None:
    script = project / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    (project / "empty").mkdir()
    (project / "link").symlink_to("run.sh")
    (project / ".hidden").write_text("")
    done = await finished(client.start("submit", "test", "--async", cwd=project))
    assert done.exit_code == 0, done.stderr
    assert "ci: 1 file left out (-v says by which rule)\n" in done.stderr
    with await worker.archive(await worker.submitted()) as archive:
        assert sorted(archive.namelist()) == [
            "empty/", "link", "requirements.txt", "run.sh", "tests/test_it.py",
        ]  # fmt: skip
        assert archive.read("link") == b"run.sh"
        assert archive.getinfo("run.sh").external_attr >> 16 == 0o100755


async def test_notices_and_reasons_to_wait_are_told(client: Client, project: Path, worker: Worker) -> None:
    running = client.start("submit", "test", cwd=project)
    job_id = await worker.submitted()
    await asyncio.to_thread(running.stderr.wait_for, b"Job ID")
    await worker.driver.start(job_id)
    await worker.driver.repository.add_events(
        worker.driver.fence, job_id, [{"type": "notice", "data": "a child was\nkilled \x1b[2J"}]
    )
    await worker.complete(job_id)
    done = await finished(running)
    assert "ci: a child was killed ␛[2J\n" in done.stderr


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no requirements.txt"),
        ({"requirements.txt": "# pytest\nnumpy\n"}, "names nothing that could bring pytest"),
        ({"requirements.txt": "pytest\n", ".ciignore": "req*\n"}, "stays behind because of .ciignore:1 req*"),
        ({"requirements.txt": "pytest\n", ".ciignore": "!\n"}, ".ciignore holds a pattern"),
    ],
)
async def test_certain_faults_are_refused_before_anything_is_sent(
    client: Client, tmp_path: Path, worker: Worker, files: dict[str, str], words: str
) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    done = await finished(client.start("submit", "test", str(folder)))
    assert (done.exit_code, done.stdout) == (64, b"")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert await worker.jobs() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "test", "nowhere"], "nowhere doesn't exist"),
        (["submit", "test", "requirements.txt"], "is not a folder"),
        (["submit", "test", "-k", "x"], "arguments for pytest go behind `--`: ci submit test -- -k"),
        (["submit", "test", ".", "x"], "unexpected extra argument"),
        (["submit", "tests"], "No such command 'tests'"),
        (["wait"], "Missing argument 'JOB'"),
        (["list", "--limit", "0"], "Invalid value for '--limit'"),
        (["list", "--server", "localhost:8000"], "did you mean http://localhost:8000"),
    ],
)
async def test_bad_use_is_one_line_and_64(
    client: Client, tmp_path: Path, arguments: list[str], words: str
) -> None:
    done = await finished(client.start(*arguments, cwd=make_project(tmp_path / "p")))
    assert (done.exit_code, done.stdout) == (64, b"")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_a_parent_folder_with_requirements_is_pointed_out(client: Client, project: Path) -> None:
    done = await finished(client.start("submit", "test", cwd=project / "tests"))
    assert done.exit_code == 64
    assert "ci submit test .." in done.stderr


@pytest.mark.parametrize("key", [None, "ci_wrong", "ci_" + "x" * 43, "ci_\N{SNOWMAN}"])
async def test_without_a_good_key_it_is_77_and_says_where_to_put_one(
    client: Client, project: Path, worker: Worker, key: str | None
) -> None:
    del client.environ["CI_API_KEY"]
    for command in (["submit", "test", str(project)], ["list"]):
        done = await finished(client.start(*command, *(() if key is None else ("--api-key", key))))
        assert (done.exit_code, done.stdout) == (77, b"")
        assert "key" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        if key is None or key.isascii():
            assert "--api-key" in done.stderr
            assert "CI_API_KEY" in done.stderr
            assert "config" in done.stderr
    assert await worker.jobs() == []


async def test_a_server_that_is_not_there_is_named_with_the_source_of_its_address(
    client: Client, project: Path
) -> None:
    done = await finished(client.start("submit", "test", str(project), "--server", "http://127.0.0.1:9"))
    assert done.exit_code == 69
    assert "can't reach http://127.0.0.1:9 (from --server): Connection refused" in done.stderr


async def test_output_comes_as_it_is_printed(client: Client, project: Path, worker: Worker) -> None:
    running = client.start("submit", "test", cwd=project)
    job_id = await worker.started()
    for text in ("first\n", "sec", "ond\n"):
        await worker.print(job_id, text)
        await asyncio.to_thread(running.stdout.wait_for, text.encode())
    await worker.complete(job_id)
    assert (await finished(running)).stdout == b"first\nsecond\n"


async def test_the_rules_are_named_on_demand(client: Client, project: Path, worker: Worker) -> None:
    (project / ".ciignore").write_text("# big\n*.bin\n")
    (project / "a.bin").write_text("")
    (project / "venv").mkdir()
    (project / "venv" / "pyvenv.cfg").write_text("")
    done = await finished(client.start("submit", "test", "--async", "-v", cwd=project))
    assert "ci: left out by .ciignore:2 *.bin: a.bin\n" in done.stderr
    assert "ci: left out by folders with a pyvenv.cfg: venv/\n" in done.stderr
    assert "ci: left out by names that begin with '.': .ciignore\n" in done.stderr
    assert "ci: sending 2 entries" in done.stderr


async def test_python_m_does_the_same(client: Client, project: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ci_client", "submit", "test", "nowhere",
        env=client.environ, cwd=project, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, stderr = await process.communicate()
    assert process.returncode == 64
    assert stderr == b"ci: error: nowhere doesn't exist; name the project's folder\n"


async def test_timing_shows_both_sides_behind_the_end(
    client: Client, project: Path, worker: Worker, tmp_path: Path
) -> None:
    file = tmp_path / "times.json"
    running = client.start("submit", "test", str(project), "--timing", "--timing-json", str(file))
    job_id = await worker.started()
    await worker.print(job_id, "1 passed\n")
    await worker.complete(job_id, 1)
    done = await finished(running)
    assert (done.exit_code, done.stdout) == (1, b"1 passed\n")
    lines = done.stderr.splitlines()
    table = lines[next(at for at, line in enumerate(lines) if "failed with" in line) + 1 :]
    assert table[0].startswith("PHASE ")
    assert {"client: start", "client: pack", "server: check archive", "client: last event"} <= {
        line.split("  ")[0] for line in table
    }
    told = json.loads(file.read_text())
    assert told["job_id"] == job_id
    assert next(iter(told["timing"])) == "received"
    assert list(told["client_timing"]) == [
        "client_started", "packing_began", "packed", "sending_began", "accepted", "following",
        "output_shown", "end_shown",
    ]  # fmt: skip


async def test_times_that_can_not_be_written_change_nothing(
    client: Client, project: Path, worker: Worker, tmp_path: Path
) -> None:
    running = client.start("submit", "test", str(project), "--timing-json", str(tmp_path))
    await worker.complete(await worker.started(), 0)
    done = await finished(running)
    assert done.exit_code == 0
    assert f"{tmp_path} can't be written: Is a directory" in done.stderr
    assert "PHASE" not in done.stderr


def test_timing_needs_an_end_to_wait_for(client: Client, project: Path) -> None:
    done = client.run("submit", "test", str(project), "--async", "--timing")
    assert done.exit_code == 64
    assert "--async" in done.stderr
