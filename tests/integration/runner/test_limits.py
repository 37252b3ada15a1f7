"""Time, memory, disk and processes: each limit ends with a clear word, and nothing is left."""

import pytest

from ci_common.models import Phase
from ci_controller.frames import RunnerEnd, RunnerResult
from tests.integration.runner.box import MEBIBYTE, UID, Boxes, python, spec, step

EAT_MEMORY = "data = []\nwhile True: data.append(bytearray(10 << 20))"


async def test_the_time_limit(boxes: Boxes) -> None:
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('a', flush=True)\n"
        "time.sleep(99)"
    )
    async with boxes.run(spec(python(code), time_limit_seconds=1.5)) as box:
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.TIME_LIMIT, Phase.TEST, None, 0, terminated=False)
        assert box.text == "a\n"


async def test_the_time_limit_is_for_all_steps_together(boxes: Boxes) -> None:
    sleep = python("import time; time.sleep(1)", Phase.INSTALL)
    async with boxes.run(spec(*[sleep] * 9, time_limit_seconds=2)) as box:
        result = await box.end()
        assert (result.end, result.phase) == (RunnerEnd.TIME_LIMIT, Phase.INSTALL)


async def test_the_time_limit_holds_under_a_flood(boxes: Boxes) -> None:
    async with boxes.run(spec(step("yes"), time_limit_seconds=1)) as box:
        assert (await box.end()).end is RunnerEnd.TIME_LIMIT
        assert box.text == "y\n" * (len(box.text) // 2) + "y" * (len(box.text) % 2)


async def test_memory_of_the_main_process(boxes: Boxes) -> None:
    async with boxes.run(spec(python(EAT_MEMORY)), memory_bytes=128 * MEBIBYTE) as box:
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.OUT_OF_MEMORY, Phase.TEST, 137, 1, terminated=False)
        assert box.notices == []


async def test_memory_of_a_child(boxes: Boxes) -> None:
    code = (
        "import subprocess, sys\n"
        f"print(subprocess.run([sys.executable, '-c', {EAT_MEMORY!r}]).returncode)\n"
        "sys.exit(1)"
    )
    async with boxes.run(spec(python(code)), memory_bytes=128 * MEBIBYTE) as box:
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.EXITED, Phase.TEST, 1, 1, terminated=False)
        assert box.text == "-9\n"
        assert box.notices == [
            "The job reached its memory limit: a process of the job was killed by the kernel"
        ]


async def test_memory_of_many_children(boxes: Boxes) -> None:
    code = (
        "import subprocess, sys\n"
        f"children = [subprocess.Popen([sys.executable, '-c', {EAT_MEMORY!r}]) for _ in range(4)]\n"
        "print([child.wait() for child in children])"
    )
    async with boxes.run(spec(python(code)), memory_bytes=128 * MEBIBYTE) as box:
        result = await box.end()
        assert (result.end, result.exit_code, result.oom_kills) == (RunnerEnd.EXITED, 0, 4)
        assert box.text == "[-9, -9, -9, -9]\n"


async def test_a_test_that_kills_itself_did_not_lack_memory(boxes: Boxes) -> None:
    async with boxes.run(spec(step("sh", "-c", "kill -9 $$"))) as box:
        result = await box.end()
        assert (result.end, result.exit_code, result.oom_kills) == (RunnerEnd.EXITED, 137, 0)


FORK_BOMB = (
    "import os, time\n"
    "print('boom', flush=True)\n"
    "if os.fork():\n"
    "    time.sleep(2)\n"
    "    os._exit(6)\n"
    "os.setsid()\n"
    "while True:\n"
    "    try: os.fork()\n"
    "    except OSError: pass\n"
)


async def test_a_fork_bomb(boxes: Boxes) -> None:
    """It doesn't delay the main process's end, which ends it."""
    async with boxes.run(spec(python(FORK_BOMB), python("print('next')")), pids=64) as box:
        assert (await box.end()).exit_code == 6
        assert box.text == "boom\n"


async def test_after_a_fork_bomb_the_next_step_has_room(boxes: Boxes) -> None:
    steps = (python(FORK_BOMB.replace("_exit(6)", "_exit(0)"), Phase.INSTALL), step("ls", "/proc"))
    async with boxes.run(spec(*steps, disk_limit_bytes=1 << 40), pids=64) as box:
        assert (await box.end()).exit_code == 0
        pids = {int(name) for name in box.text.split() if name.isdigit()}
        assert len(pids) == 3, "the runner, its look at the disk, and ls"


FILL = (
    "import os\n"
    "with open({path!r}, 'wb', 0) as file:\n"
    "    {extra}\n"
    "    while True: file.write(bytes(1 << 20))"
)


@pytest.mark.parametrize(
    "path", ["/workspace/a", "/tmp/a", "/var/tmp/a", "/home/ci/a", "/run/lock/a", "/job/deep/er/a"]
)
async def test_the_disk_limit(boxes: Boxes, path: str) -> None:
    code = f"import os; os.makedirs(os.path.dirname({path!r}), exist_ok=True)\n" + FILL.format(
        path=path, extra="pass"
    )
    told = spec(python(code), disk_limit_bytes=64 * MEBIBYTE, writable=("/job",))
    async with boxes.run(told) as box:
        result = await box.end()
        assert result == RunnerResult(RunnerEnd.DISK_LIMIT, Phase.TEST, None, 0, terminated=False)


async def test_a_file_without_a_name_counts(boxes: Boxes) -> None:
    code = FILL.format(path="/workspace/a", extra="os.unlink('/workspace/a')")
    async with boxes.run(spec(python(code), disk_limit_bytes=64 * MEBIBYTE)) as box:
        assert (await box.end()).end is RunnerEnd.DISK_LIMIT


async def test_empty_files_count(boxes: Boxes) -> None:
    code = "number = 0\nwhile True:\n    open(f'/tmp/{number}', 'w').close()\n    number += 1"
    async with boxes.run(spec(python(code), disk_limit_bytes=MEBIBYTE)) as box:
        assert (await box.end()).end is RunnerEnd.DISK_LIMIT


async def test_what_takes_no_room_does_not_count(boxes: Boxes) -> None:
    code = (
        "import os, time\n"
        "open('sparse', 'wb').truncate(1 << 30)\n"
        "open('real', 'wb').write(bytes(30 << 20))\n"
        "for number in range(100): os.link('real', f'link{number}')\n"
        "for _ in range(30):\n"
        "    open('again', 'wb').write(bytes(20 << 20)); os.unlink('again'); time.sleep(0.05)\n"
    )
    async with boxes.run(spec(python(code), disk_limit_bytes=64 * MEBIBYTE)) as box:
        assert (await box.end()).exit_code == 0


async def test_files_past_the_disk_limit_are_not_unpacked(boxes: Boxes) -> None:
    files = [("a", bytes(2 * MEBIBYTE)), ("b", bytes(2 * MEBIBYTE))]
    async with boxes.run(spec(python("print('ran')"), disk_limit_bytes=3 * MEBIBYTE), files) as box:
        assert (await box.end()) == RunnerResult(RunnerEnd.DISK_LIMIT, None, None, 0, terminated=False)
        assert box.fed
        assert box.text == ""


async def test_daemons_left_behind_delay_nothing_and_end(boxes: Boxes) -> None:
    code = (
        "import os, time\n"
        "for _ in range(5):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork(): os._exit(0)\n"
        "        time.sleep(1000)\n"
        "print('done')"
    )
    look = python(
        "import os\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        f"    if os.stat(f'/proc/{{pid}}').st_uid == {UID}: print(open(f'/proc/{{pid}}/comm').read())"
    )
    async with boxes.run(spec(python(code), look)) as box:
        assert (await box.end()).exit_code == 0
        assert box.text == "done\npython3\n\n"


async def test_orphans_do_not_end_a_step(boxes: Boxes) -> None:
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0: time.sleep(0.2); os._exit(9)\n"
        "    os._exit(8)\n"
        "os.wait()\n"
        "time.sleep(0.6)\n"
        "os._exit(2)"
    )
    async with boxes.run(spec(python(code))) as box:
        assert (await box.end()).exit_code == 2
