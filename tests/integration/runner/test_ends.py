"""How a job's end is told: exit codes as a shell gives them, and who was at fault."""

import hashlib
import signal

import pytest

from ci_common.models import Phase
from ci_controller.feeding import feed_stream
from ci_controller.frames import RunnerEnd, RunnerResult
from tests.integration.runner.box import Boxes, python, spec, step


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("pass", 0),
        ("raise SystemExit(1)", 1),
        ("raise SystemExit(5)", 5),
        ("import os; os._exit(3)", 3),
        ("raise SystemExit(255)", 255),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139),
        ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", 134),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
async def test_exit_codes(boxes: Boxes, code: str, exit_code: int) -> None:
    async with boxes.run(spec(python(code))) as box:
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.EXITED, Phase.TEST, exit_code, 0, terminated=False)
        assert box.fed
        assert box.text == ""
        assert (await box.view()).exit_code == 0


async def test_no_signal_is_ignored_from_the_beginning(boxes: Boxes) -> None:
    async with boxes.run(spec(step("sh", "-c", "kill -PIPE $$"))) as box:
        assert (await box.end()).exit_code == 141


async def test_steps_follow_one_another(boxes: Boxes) -> None:
    steps = (
        python("print('install')", Phase.INSTALL),
        python("print('one')"),
        python("print('two'); raise SystemExit(7)"),
        python("print('three')"),
    )
    async with boxes.run(spec(*steps)) as box:
        result = await box.end()
        assert (result.end, result.exit_code) == (RunnerEnd.EXITED, 7)
        assert box.output == {Phase.INSTALL: "install\n", Phase.TEST: "one\ntwo\n"}


async def test_moments_are_told_in_their_order(boxes: Boxes) -> None:
    steps = (python("pass", Phase.INSTALL), python("pass", Phase.INSTALL), python("pass"), python("pass"))
    async with boxes.run(spec(*steps)) as box:
        await box.end()
        moments = box.since_fed_seconds
    assert list(moments) == [
        "runner_ready", "feeding_began", "install_began", "install_ended", "test_began", "test_ended",
    ]  # fmt: skip
    assert list(moments.values()) == sorted(moments.values())
    assert moments["feeding_began"] <= 0 <= moments["install_began"]


async def test_a_failing_install_ends_it(boxes: Boxes) -> None:
    steps = (python("raise SystemExit('no such package')", Phase.INSTALL), python("print('test')"))
    async with boxes.run(spec(*steps)) as box:
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.INSTALL_FAILED, Phase.INSTALL, 1, 0, terminated=False)
        assert box.output == {Phase.INSTALL: "no such package\n", Phase.TEST: ""}


async def test_a_command_that_is_not_there(boxes: Boxes) -> None:
    async with boxes.run(spec(step("/env/bin/python", "-m", "pytest"))) as box:
        result = await box.end()
        assert (result.end, result.exit_code) == (RunnerEnd.EXITED, 127)
        assert box.text == "ci: cannot run /env/bin/python in /workspace: No such file or directory\n"


async def test_a_command_that_may_not_run(boxes: Boxes) -> None:
    async with boxes.run(spec(step("/etc/passwd"))) as box:
        assert (await box.end()).exit_code == 126
        assert box.text == "ci: cannot run /etc/passwd in /workspace: Permission denied\n"


async def test_pytest_that_is_missing_is_told_apart(boxes: Boxes) -> None:
    async with boxes.run(spec(step("python3", "-m", "pytest", "-v"))) as box:
        result = await box.end()
        assert (result.end, result.exit_code) == (RunnerEnd.PYTEST_MISSING, 1)
        assert "No module named pytest" in box.text


async def test_a_folder_named_pytest_is_no_pytest(boxes: Boxes) -> None:
    async with boxes.run(spec(step("python3", "-m", "pytest")), [("pytest/x.txt", b"")]) as box:
        assert (await box.end()).end is RunnerEnd.PYTEST_MISSING


async def test_tests_that_only_speak_of_a_missing_pytest_have_failed(boxes: Boxes) -> None:
    lie = b"import sys; sys.exit('No module named pytest')"
    files = [("pytest/__init__.py", b""), ("pytest/__main__.py", lie)]
    async with boxes.run(spec(step("python3", "-m", "pytest")), files) as box:
        result = await box.end()
        assert (result.end, result.exit_code) == (RunnerEnd.EXITED, 1)


@pytest.mark.parametrize("cut", [1, 32, 40, 2000])
async def test_half_a_feed(boxes: Boxes, cut: int) -> None:
    stream = b"".join(feed_stream(spec(python("print('ran')")), [("a", bytes(5000))]))
    async with boxes.open() as box:
        await box.manager.feed(box.id, iter([stream[:-cut]]))
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.UNFED, None, None, 0, terminated=False)
        assert not box.fed
        assert box.text == ""


@pytest.mark.parametrize("length", [0, 3, 100])
async def test_half_a_spec(boxes: Boxes, length: int) -> None:
    stream = b"".join(feed_stream(spec(python("print('ran')"))))
    async with boxes.open() as box:
        await box.manager.feed(box.id, iter([stream[:length]] if length else []))
        assert (await box.end()).end is RunnerEnd.UNFED


async def test_a_wrong_hash(boxes: Boxes) -> None:
    stream = b"".join(feed_stream(spec(python("print('ran')")), [("a", b"content")]))
    wrong = hashlib.sha256(b"something else").digest()
    async with boxes.open() as box:
        await box.manager.feed(box.id, iter([stream[:-32] + wrong]))
        assert (await box.end()).end is RunnerEnd.UNFED
        assert not box.fed


async def test_files_that_can_not_be_unpacked(boxes: Boxes) -> None:
    async with boxes.run(spec(python("print('ran')")), [("a", b""), ("a/b", b"x" * 700_000)]) as box:
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.BAD_FILES, None, None, 0, terminated=False)
        assert box.fed
        assert len(box.notices) == 1
        assert box.notices[0].startswith("The files can't be used: a/b: ")


async def test_stopped_before_it_was_fed(boxes: Boxes) -> None:
    async with boxes.open() as box:
        await box.ready()
        assert await box.manager.signal(box.id, signal.SIGTERM)
        assert await box.end() == RunnerResult(RunnerEnd.TERMINATED, None, None, 0, terminated=True)


async def test_a_test_that_stops_when_asked(boxes: Boxes) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('bye'))\n"
        "print('ready', flush=True)\n"
        "time.sleep(100)\n"
    )
    async with boxes.run(spec(python(code), python("print('next')"))) as box:
        await box.until("ready")
        assert await box.manager.signal(box.id, signal.SIGTERM)
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.TERMINATED, Phase.TEST, 1, 0, terminated=True)
        assert box.text == "ready\nbye\n"


async def test_a_test_that_stops_by_default(boxes: Boxes) -> None:
    async with boxes.run(spec(step("sh", "-c", "echo ready; sleep 100; echo late"))) as box:
        await box.until("ready")
        assert await box.manager.signal(box.id, signal.SIGTERM)
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.TERMINATED, Phase.TEST, 143, 0, terminated=True)
        assert box.text == "ready\n"


async def test_a_test_that_traps_sigterm_gets_its_grace_and_is_killed(boxes: Boxes) -> None:
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('trapped', flush=True))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(1)\n"
    )
    async with boxes.run(spec(python(code))) as box:
        await box.until("ready")
        assert await box.manager.signal(box.id, signal.SIGTERM)
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.TERMINATED, Phase.TEST, 137, 0, terminated=True)
        assert box.text == "ready\ntrapped\n"
