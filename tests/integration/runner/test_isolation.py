"""What a job's processes are, and that they can touch nothing of the runner."""

import json

import pytest

from ci_common.models import Phase
from ci_controller.runner_spec import CA_BUNDLE_PATH
from tests.integration.runner.box import UID, Boxes, python, spec, step


async def ask(boxes: Boxes, code: str, **changes: object) -> object:
    """What `answer` is at the end of `code`, run as a job."""
    told = spec(python(f"{code}\nimport json; print(json.dumps(answer))"), **changes)
    async with boxes.run(told) as box:
        assert (await box.end()).exit_code == 0, box.text
        return json.loads(box.text)


async def test_who_a_job_is(boxes: Boxes) -> None:
    code = (
        "import os, getpass, pathlib\n"
        "answer = [os.getresuid(), os.getresgid(), os.getgroups(), getpass.getuser(),\n"
        "          os.getcwd(), str(pathlib.Path('~ci').expanduser()), os.getsid(0) == os.getpid(),\n"
        "          oct(os.umask(0)), open('/proc/self/oom_score_adj').read().strip()]"
    )
    assert await ask(boxes, code) == [
        *([[UID] * 3] * 2),
        [],
        "ci",
        "/workspace",
        "/home/ci",
        True,
        "0o22",
        "1000",
    ]


async def test_a_job_has_no_rights(boxes: Boxes) -> None:
    code = (
        "fields = dict(line.split(':\\t') for line in open('/proc/self/status') if ':\\t' in line)\n"
        "answer = [fields[name].strip() for name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb', 'NoNewPrivs')]"
    )
    assert await ask(boxes, code) == ["0" * 16] * 4 + ["1"]


async def test_a_job_inherits_nothing(boxes: Boxes) -> None:
    code = (
        "import os, signal, resource\n"
        "fds = []\n"
        "for fd in range(100):\n"
        "    try: os.fstat(fd); fds.append(fd)\n"
        "    except OSError: pass\n"
        "blocked = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "answer = [dict(os.environ), fds, blocked, resource.getrlimit(resource.RLIMIT_CORE)]"
    )
    environment = {"PATH": "/usr/bin:/bin", "GRÜSSE": "ä\U0001f600"}
    answer = await ask(boxes, code, environment=environment)
    assert isinstance(answer, list)
    assert answer[0] | {"LC_CTYPE": "C.UTF-8"} == environment | {"LC_CTYPE": "C.UTF-8"}
    assert answer[1:] == [[0, 1, 2], [], [0, 0]]


async def test_arguments_come_as_they_are(boxes: Boxes) -> None:
    words = ["", "two words", "grüße", "'\"$HOME\n", "\udcff"]
    code = "import sys, os; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))"
    async with boxes.run(spec(step("python3", "-c", code, *words))) as box:
        await box.end()
        assert box.text == "|two words|grüße|'\"$HOME\n|\ufffd"


TOUCH = """
import ctypes, os, signal

libc = ctypes.CDLL(None, use_errno=True)

def trace(pid):
    if libc.ptrace(16, pid, None, None):
        raise OSError(ctypes.get_errno(), "")

def tried(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return type(error).__name__
    return "done"

answer = []
for pid in {int(name) for name in os.listdir("/proc") if name.isdigit()} - {os.getpid()}:
    answer += [
        tried(open, f"/proc/{pid}/fd/1", "w"),
        tried(open, f"/proc/{pid}/mem"),
        tried(open, f"/proc/{pid}/environ"),
        tried(os.listdir, f"/proc/{pid}/fd"),
        tried(os.kill, pid, signal.SIGKILL),
        tried(os.kill, pid, signal.SIGTERM),
        tried(os.kill, pid, signal.SIGSTOP),
        tried(trace, pid),
    ]
"""


async def test_the_runner_can_not_be_touched(boxes: Boxes) -> None:
    """Nor can its look at the disk."""
    assert await ask(boxes, TOUCH, disk_limit_bytes=1 << 40) == ["PermissionError"] * 8 * 2


async def test_killing_everybody_kills_nobody_else(boxes: Boxes) -> None:
    code = (
        "import os, signal\n"
        "for number in signal.SIGKILL, signal.SIGTERM: os.kill(-1, number)\n"
        "answer = len([name for name in os.listdir('/proc') if name.isdigit()])"
    )
    assert await ask(boxes, code, disk_limit_bytes=1 << 40) == 3


async def test_folders_belong_to_the_job(boxes: Boxes) -> None:
    code = (
        "import os\n"
        "answer = {path: os.access(path, os.W_OK) for path in\n"
        "          ('/workspace', '/home/ci', '/job', '/tmp', '/run/ci', '/opt/ci', '/etc', '/', '/env')}"
    )
    assert await ask(boxes, code, writable=("/job",)) == {
        "/workspace": True,
        "/home/ci": True,
        "/job": True,
        "/tmp": True,
        "/run/ci": False,
        "/opt/ci": False,
        "/etc": False,
        "/": False,
        "/env": False,
    }


async def test_config_files(boxes: Boxes) -> None:
    code = (
        "answer = [open('/run/ci/pip.conf').read(),\n"
        f"          open('{CA_BUNDLE_PATH}').read().endswith('\\nours\\n'),\n"
        "          [line.split()[2] for line in open('/proc/mounts') if ' /run/ci ' in line]]"
    )
    told = {"config_files": {"pip.conf": "[global]\nindex-url = ä\n"}, "ca_bundle": "ours\n"}
    assert await ask(boxes, code, **told) == ["[global]\nindex-url = ä\n", True, ["tmpfs"]]


@pytest.mark.parametrize("steps", [1, 3])
async def test_each_step_has_its_own_variables_and_folder(boxes: Boxes, steps: int) -> None:
    told = [
        step("sh", "-c", "echo $COMMON $OWN $PWD", phase=Phase.TEST, OWN=str(number))
        for number in range(steps)
    ]
    variables = {"PATH": "/usr/bin:/bin", "COMMON": "c", "OWN": "none"}
    async with boxes.run(spec(*told, environment=variables)) as box:
        await box.end()
        assert box.text == "".join(f"c {number} /workspace\n" for number in range(steps))
