"""An environment is sealed once its installers are dead, and only a sealed one is used."""

import uuid
from collections.abc import AsyncIterator

import pytest

from ci_common.ids import VolumeName
from ci_common.models import Phase
from ci_controller.container_manager import ContainerManager
from ci_controller.frames import RunnerEnd, RunnerResult
from ci_controller.runner_spec import RunnerStep
from tests.integration.runner.box import UID, Box, Boxes, python, spec, step

MARKER = "/env/.complete"


class Environment:
    """A volume, what is installed into it and tested on it."""

    def __init__(self, boxes: Boxes, volume: VolumeName) -> None:
        self._boxes = boxes
        self._volume = volume

    async def install(self, *steps: RunnerStep, uid: int = UID + 6) -> RunnerResult:
        told = spec(*steps, uid=uid, gid=uid, writable=("/env",), write_marker=MARKER)
        async with self._boxes.run(told, environment=(self._volume, False)) as box:
            return await box.end()

    async def test(self, *steps: RunnerStep) -> tuple[RunnerResult, Box]:
        told = spec(*steps, require_marker=MARKER)
        async with self._boxes.run(told, environment=(self._volume, True)) as box:
            return await box.end(), box


@pytest.fixture
async def environment(boxes: Boxes) -> AsyncIterator[Environment]:
    """An empty one, gone afterwards."""
    name = VolumeName(f"ci-test-{uuid.uuid4().hex}")
    async with ContainerManager(boxes.instance) as manager:
        await manager.create_volume(name)
        yield Environment(boxes, name)
        await manager.remove_volume(name)


def write(path: str, phase: Phase = Phase.INSTALL) -> RunnerStep:
    return python(f"print('hello', file=open({path!r}, 'w'))", phase)


async def test_what_was_installed_can_be_read_by_another_user(environment: Environment) -> None:
    assert (await environment.install(write("/env/module.py"))).end is RunnerEnd.EXITED
    result, box = await environment.test(step("cat", "/env/module.py"))
    assert (result.end, result.exit_code, box.text) == (RunnerEnd.EXITED, 0, "hello\n")


async def test_tests_can_not_change_it(environment: Environment) -> None:
    await environment.install(write("/env/module.py"))
    result, box = await environment.test(write("/env/module.py", Phase.TEST))
    assert result.exit_code == 1
    assert "Read-only file system" in box.text


async def test_an_empty_environment_is_missing(environment: Environment) -> None:
    result, box = await environment.test(python("print('ran')"))
    assert result == RunnerResult(RunnerEnd.ENVIRONMENT_MISSING, None, None, 0, terminated=False)
    assert box.fed
    assert box.text == ""


async def test_a_failed_install_seals_nothing(environment: Environment) -> None:
    result = await environment.install(write("/env/a"), step("false", phase=Phase.INSTALL))
    assert result.end is RunnerEnd.INSTALL_FAILED
    result, _ = await environment.test(python("print('ran')"))
    assert result.end is RunnerEnd.ENVIRONMENT_MISSING


async def test_a_marker_of_the_installers_own_seals_nothing(environment: Environment) -> None:
    await environment.install(write(MARKER), step("false", phase=Phase.INSTALL))
    result, _ = await environment.test(python("print('ran')"))
    assert result.end is RunnerEnd.ENVIRONMENT_MISSING


@pytest.mark.parametrize(
    "forge",
    [
        f"open('{MARKER}', 'w').write('mine')",
        f"os.symlink('/etc/passwd', '{MARKER}')",
        f"os.symlink('/nowhere', '{MARKER}')",
        "os.chmod('/env', 0)",
    ],
)
async def test_nothing_that_an_installer_leaves_hinders_the_seal(
    environment: Environment, forge: str
) -> None:
    assert (await environment.install(python(f"import os; {forge}", Phase.INSTALL))).end is RunnerEnd.EXITED
    result, box = await environment.test(step("stat", "-c", "%F %U %a", MARKER, "/env"))
    assert (result.exit_code, box.text) == (0, "regular empty file root 644\ndirectory root 755\n")


async def test_nobody_writes_behind_the_seal(environment: Environment) -> None:
    daemon = (
        "import os\nif os.fork(): os._exit(0)\nos.setsid()\nwhile True: open('/env/poison', 'a').write('x')"
    )
    assert (await environment.install(python(daemon, Phase.INSTALL))).end is RunnerEnd.EXITED
    code = (
        "import os\n"
        "found = os.path.exists('/env/poison')\n"
        f"print(not found or os.stat('/env/poison').st_mtime_ns <= os.stat('{MARKER}').st_mtime_ns)"
    )
    _, box = await environment.test(python(code))
    assert box.text == "True\n"


async def test_a_second_install_fills_the_same_volume_again(environment: Environment) -> None:
    """A controller that died in between makes a new container; the volume is still the old one's."""
    await environment.install(write("/env/a"))
    assert (await environment.install(write("/env/b"), uid=UID + 9)).end is RunnerEnd.EXITED
    result, _ = await environment.test(step("cat", "/env/a", "/env/b"))
    assert result.exit_code == 0
