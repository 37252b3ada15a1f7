"""An engine that takes no output holds up the output alone: every limit still holds."""

import base64

import docker
import pytest

from ci_common.models import LogPosition
from ci_controller.feeding import feed_stream
from ci_controller.frames import Batch, FrameDecoder, RunnerEnd
from ci_controller.runner_spec import RunnerSpec
from tests.integration.runner.box import Boxes, spec, step

# The runner in a pid namespace of its own, its stdout a pipe that nobody reads before the job has ended.
# The job leaves a file when it begins, so that even one that ends at once is not missed.
HARNESS = """
import base64, os, subprocess, sys, time

def begun():
    return os.path.exists("/tmp/begun")

def lives():
    uid = os.stat("/tmp/begun").st_uid
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as state:
                if os.stat(f"/proc/{pid}").st_uid == uid and ") Z" not in state.read():
                    return True
        except OSError:
            pass
    return False

command = ["unshare", "--pid", "--fork", "--mount-proc", "python3", "-I", "-S", "/opt/ci/runner.py"]
runner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
runner.stdin.write(base64.b64decode(sys.argv[1]))
runner.stdin.close()
while not begun():
    time.sleep(0.01)
while lives():
    time.sleep(0.01)
sys.stdout.buffer.write(runner.stdout.read())
sys.exit(runner.wait())
"""


def run_unread(boxes: Boxes, told: RunnerSpec) -> Batch:
    feed = base64.b64encode(b"".join(feed_stream(told))).decode()
    client = docker.from_env()
    try:
        container = client.containers.create(
            boxes.image,
            ["-c", HARNESS, feed],
            entrypoint="python3",
            cap_add=["SYS_ADMIN"],  # for `unshare`
            security_opt=["seccomp=unconfined"],
            network_mode="none",
            labels={"ci.instance": boxes.instance},
        )
        try:
            container.start()
            assert container.wait()["StatusCode"] == 0, container.logs()
            log = container.logs(stderr=False)
        finally:
            container.remove(force=True)
    finally:
        client.close()
    return FrameDecoder(LogPosition()).feed(log)


@pytest.mark.parametrize(
    ("limits", "end"),
    [
        ({"time_limit_seconds": 1.5}, RunnerEnd.TIME_LIMIT),
        ({"log_limit_bytes": 100_000}, RunnerEnd.LOG_LIMIT),
    ],
)
def test_limits_hold_while_nobody_reads(boxes: Boxes, limits: dict[str, float], end: RunnerEnd) -> None:
    batch = run_unread(boxes, spec(step("sh", "-c", "touch /tmp/begun; exec yes"), **limits))
    assert batch.result is not None
    assert batch.result.end is end
    assert sum(len(text) for _, text in batch.chunks) < 1_000_000


def test_the_end_of_the_main_process_is_seen_while_nobody_reads(boxes: Boxes) -> None:
    batch = run_unread(boxes, spec(step("sh", "-c", "touch /tmp/begun; yes & sleep 1; exit 3")))
    assert batch.result is not None
    assert (batch.result.end, batch.result.exit_code) == (RunnerEnd.EXITED, 3)
