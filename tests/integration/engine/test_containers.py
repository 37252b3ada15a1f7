import json
import signal
from contextlib import aclosing
from dataclasses import replace

import pytest

from ci_common.ids import ContainerId, VolumeName
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import EnvironmentMount, JobLimits
from ci_controller.container_view import ContainerStatus
from ci_controller.engine_errors import (
    AlreadyStarted,
    EngineRefused,
    ImageMissing,
    InUse,
    NameTaken,
    StartFailed,
    VolumeMissing,
)
from tests.integration.engine.bench import Bench, until
from tests.integration.engine.conftest import new_instance

GONE = ContainerId("0" * 64)


async def test_a_container_is_known_again_from_its_labels(bench: Bench) -> None:
    request = bench.request()
    container = await bench.manager.create(request)
    async with ContainerManager(bench.instance) as later:
        [listed] = await later.list()
        inspected = await later.inspect(container)
    assert inspected is not None
    assert (listed.id, listed.name, listed.job_id) == (container, request.name, request.job_id)
    assert (listed.role, listed.fence, listed.attempt, listed.slot) == (request.role, 5, 2, 1)
    assert listed.status is inspected.status is ContainerStatus.CREATED
    assert replace(inspected, created_at=listed.created_at) == listed


async def test_installations_do_not_see_each_others_containers(bench: Bench) -> None:
    await bench.manager.create(bench.request())
    async with ContainerManager(new_instance()) as other:
        assert not await other.list()


async def test_a_taken_name_is_refused_with_the_id_of_its_holder(bench: Bench) -> None:
    request = bench.request()
    container = await bench.manager.create(request)
    with pytest.raises(NameTaken) as refusal:
        await bench.manager.create(request)
    assert refusal.value.existing == container


async def test_a_missing_image_is_said_so(bench: Bench) -> None:
    with pytest.raises(ImageMissing):
        await bench.manager.create(replace(bench.request(), image="ci-test-nowhere:1"))


async def test_a_missing_environment_is_said_so_and_not_made(bench: Bench) -> None:
    mount = EnvironmentMount(VolumeName(f"ci-test-{bench.instance}"), read_only=True)
    with pytest.raises(VolumeMissing):
        await bench.manager.create(bench.request(environment=mount))
    assert not await bench.manager.list_volumes()


async def test_what_the_engine_finds_senseless_is_refused_in_its_words(bench: Bench) -> None:
    limits = JobLimits(memory_bytes=1, cpus=1, pids=10)
    with pytest.raises(EngineRefused, match="memory"):
        await bench.manager.create(bench.request(limits=limits))


async def test_a_container_is_started_once(bench: Bench) -> None:
    _, view = await bench.run("raise SystemExit(3)")
    assert view.exit_code == 3
    with pytest.raises(AlreadyStarted):
        await bench.manager.start(view.id)
    async with ContainerManager(bench.instance) as later:
        with pytest.raises(AlreadyStarted):
            await later.start(view.id)


async def test_a_later_controller_may_start_what_was_only_created(bench: Bench) -> None:
    container = await bench.manager.create(bench.request())
    async with ContainerManager(bench.instance) as later:
        assert await later.start(container)
    assert (await bench.seen(container, lambda _: True)).status is ContainerStatus.RUNNING


async def test_a_start_that_fails_says_why(bench: Bench) -> None:
    container = await bench.manager.create(bench.request(network="ci-test-no-such-network"))
    with pytest.raises(StartFailed, match="ci-test-no-such-network"):
        await bench.manager.start(container)


async def test_what_is_gone_is_a_normal_answer(bench: Bench) -> None:
    assert await bench.manager.inspect(GONE) is None
    assert not await bench.manager.start(GONE)
    assert not await bench.manager.signal(GONE, signal.SIGTERM)
    assert not await bench.manager.kill(GONE)
    await bench.manager.remove(GONE)
    assert await bench.output(GONE) == b""


async def test_a_created_container_of_a_manager_that_removed_it_is_gone_for_start(bench: Bench) -> None:
    container = await bench.manager.create(bench.request())
    async with ContainerManager(bench.instance) as other:
        await other.remove(container)
    assert not await bench.manager.start(container)


async def test_signals_reach_process_one_and_not_what_has_ended(bench: Bench) -> None:
    container = await bench.started(
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "signal.pause()"
    )
    async with aclosing(bench.manager.follow(container)) as log:
        await until(log, b"ready")
    assert await bench.manager.signal(container, signal.SIGTERM)
    assert (await bench.ended(container)).exit_code == 7
    assert not await bench.manager.signal(container, signal.SIGTERM)


async def test_a_killed_container_keeps_its_log_until_it_is_removed(bench: Bench) -> None:
    container = await bench.started("import time\nprint('alive', flush=True)\ntime.sleep(600)")
    async with aclosing(bench.manager.follow(container)) as log:
        await until(log, b"alive")
    assert await bench.manager.kill(container)
    assert (await bench.ended(container)).exit_code == 137
    assert await bench.output(container) == b"alive\n"
    await bench.manager.remove(container)
    assert await bench.manager.inspect(container) is None


async def test_a_running_container_can_be_removed(bench: Bench) -> None:
    container = await bench.started("import time; time.sleep(600)")
    await bench.manager.remove(container)
    assert await bench.manager.inspect(container) is None


async def test_rights_and_limits_are_in_force(bench: Bench) -> None:
    output, _ = await bench.run(
        """
import json, os, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
mounts = {line.split()[1]: line.split()[3].split(",") for line in open("/proc/self/mounts")}
print(json.dumps({
    "capabilities": int(status["CapBnd"], 16),
    "no_new_privileges": status["NoNewPrivs"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "config": "rw" in mounts["/run/ci"] and "noexec" in mounts["/run/ci"],
    "network": sorted(os.listdir("/sys/class/net")),
    "uid": os.getuid(),
}))
"""
    )
    found = json.loads(output)
    assert found == {
        "capabilities": (1 << 0) | (1 << 5) | (1 << 6) | (1 << 7),  # CHOWN, KILL, SETGID, SETUID
        "no_new_privileges": "1",
        "seccomp": "2",
        "core": [0, 0],
        "config": True,
        "network": ["lo"],
        "uid": 0,
    }


async def test_memory_and_processes_are_bounded(bench: Bench) -> None:
    source = """
import os, sys, time
children = []
try:
    while True:
        child = os.fork()
        if not child:
            time.sleep(600)
        children.append(child)
except OSError:
    print(len(children), flush=True)
hog = bytearray(1 << 30)
"""
    limits = JobLimits(memory_bytes=128 << 20, cpus=1, pids=20)
    output, view = await bench.run(source, bench.request(limits=limits))
    assert 10 < int(output) < 20
    assert view.oom_killed
    assert view.exit_code == 137


async def test_an_environment_is_filled_by_one_container_and_read_by_another(bench: Bench) -> None:
    volume = VolumeName(f"ci-test-{bench.instance}")
    await bench.manager.create_volume(volume)
    await bench.manager.create_volume(volume)
    filling = bench.request(environment=EnvironmentMount(volume, read_only=False))
    await bench.run("open('/env/x', 'w').write('packages')", filling)
    reading = bench.request(environment=EnvironmentMount(volume, read_only=True))
    output, view = await bench.run("print(open('/env/x').read(), flush=True); open('/env/y', 'w')", reading)
    assert output == b"packages\n"
    assert view.exit_code == 1
    [listed] = await bench.manager.list_volumes()
    assert listed.name == volume
    with pytest.raises(InUse):
        await bench.manager.remove_volume(volume)
    for container in await bench.manager.list():
        await bench.manager.remove(container.id)
    await bench.manager.remove_volume(volume)
    await bench.manager.remove_volume(volume)
    assert not await bench.manager.list_volumes()


async def test_another_installations_volume_is_not_taken_for_ours(bench: Bench) -> None:
    volume = VolumeName(f"ci-test-{bench.instance}")
    await bench.manager.create_volume(volume)
    async with ContainerManager(new_instance()) as other:
        with pytest.raises(EngineRefused, match="isn't this installation's"):
            await other.create_volume(volume)
        assert not await other.list_volumes()


async def test_the_engine_is_described_with_what_the_installation_has_in_it(bench: Bench) -> None:
    await bench.manager.create(bench.request())
    status = await bench.manager.status()
    assert (status.containers, status.volumes, status.job_images) == (1, 0, 1)
    assert status.version
    assert status.cgroup_version in {"1", "2"}
    assert status.memory_bytes > 0
