"""Wheels are fetched without running anything of theirs, and an installation finds them with bytecode."""

import io
import uuid
import zipfile
from dataclasses import replace

import pytest

from ci_common.ids import VolumeName
from ci_common.models import Phase, SubmitOptions
from ci_controller.container_manager import ContainerManager
from ci_controller.environments import ENVIRONMENT_MARKER, Placement, plan_fetch, plan_install
from ci_controller.frames import RunnerEnd
from ci_controller.installer import InstallerSettings
from ci_controller.requirements import Requirements, read_requirements
from ci_controller.runner_spec import RunnerSpec
from tests.e2e.projects import sdist
from tests.integration.runner.box import UID, Boxes, python, spec
from tests.unit.controller.project_files import bundle_of

PLACEMENT = Placement(
    uid=UID, gid=UID, cpus=1, time_limit_seconds=60, log_limit_bytes=1 << 20, disk_limit_bytes=1 << 30
)
TELL = "open('/env/has-run', 'a').write('evil')"
SDIST = "sly-1.tar.gz"
LOOK = """
import os, pathlib
cache = pathlib.Path("/env/.build/cache/archive-v0")
print(os.path.exists("/env/has-run"))
print(*os.listdir("/env/.build"))
print(*sorted(path.name for path in cache.rglob("evil.p[ty]*")))
"""
FETCHED = """
import pathlib
[bytecode] = pathlib.Path("/env/.build/cache/archive-v0").glob("*/__pycache__/evil.*.pyc")
print(bytecode.stat().st_mtime_ns, True)
"""
INSTALLED = """
import pathlib
[source] = pathlib.Path("/env").glob("lib/python*/site-packages/evil.py")
[bytecode] = source.parent.glob("__pycache__/evil.*.pyc")
print(bytecode.stat().st_mtime_ns, str(source).encode() in bytecode.read_bytes())
"""


def wheel(name: str, files: dict[str, str], needs: str = "") -> bytes:
    """A wheel of these files."""
    info = f"{name}-1.dist-info"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return content.getvalue()


EVIL = wheel("evil", {"evil.py": TELL, "evil.pth": f"import os; {TELL}\n", "sitecustomize.py": TELL})
"""Runs code in every Python that starts on the environment that it is in."""
FILES = [
    ("evil-1-py3-none-any.whl", EVIL),
    ("needy-1-py3-none-any.whl", wheel("needy", {}, f"Requires-Dist: sly @ file:///workspace/{SDIST}\n")),
    (SDIST, sdist("sly-1", "import sys; print('has run', file=sys.stderr)\n")),
]


def asking_for(*packages: str) -> Requirements:
    """What would come from an index comes from the files that the container gets."""
    bundle = bundle_of({"requirements.txt": "--no-index\n"})
    requirements = read_requirements(bundle, InstallerSettings().sources)
    sources = replace(requirements.sources, find_links=("file:///workspace",))
    return replace(requirements, packages=packages, sources=sources)


def fetching(look: str, *packages: str) -> RunnerSpec:
    """What a container is told that fetches, and looks at the result."""
    told = plan_fetch(asking_for(*packages), InstallerSettings(), PLACEMENT)
    return replace(told, steps=(*told.steps, python(look)))


def installing(*packages: str) -> RunnerSpec:
    """What a container is told that installs."""
    return plan_install(asking_for(*packages), InstallerSettings(), SubmitOptions(), PLACEMENT).spec


async def test_nothing_of_a_wheel_runs_while_it_is_fetched(boxes: Boxes) -> None:
    async with boxes.run(fetching(LOOK, "evil"), FILES) as box:
        assert (await box.end()).exit_code == 0, box.output
        assert box.text.splitlines() == ["False", "cache", "evil.pth evil.py"]


@pytest.mark.parametrize(
    "packages",
    [("sly",), ("needy",), (f"sly @ file:///workspace/{SDIST}",), ("--only-binary :none:", "sly")],
)
async def test_what_would_have_to_be_built_is_not_fetched(boxes: Boxes, packages: tuple[str, ...]) -> None:
    async with boxes.run(fetching(LOOK, *packages), FILES) as box:
        assert (await box.end()).end is RunnerEnd.INSTALL_FAILED
        assert "has run" not in box.output[Phase.INSTALL]


async def test_it_would_tell_if_it_were_built(boxes: Boxes) -> None:
    async with boxes.run(installing("sly"), FILES) as box:
        assert (await box.end()).end is RunnerEnd.INSTALL_FAILED
        assert "has run" in box.output[Phase.INSTALL]


async def test_an_installation_takes_what_was_fetched_with_its_bytecode(boxes: Boxes) -> None:
    volume = VolumeName(f"ci-test-{uuid.uuid4().hex}")
    async with ContainerManager(boxes.instance) as manager:
        await manager.create_volume(volume)
        try:
            async with boxes.run(fetching(FETCHED, "evil"), FILES, environment=(volume, False)) as box:
                assert (await box.end()).exit_code == 0, box.output
                fetched = box.text
            async with boxes.run(installing("evil"), FILES, environment=(volume, False)) as box:
                assert (await box.end()).end is RunnerEnd.EXITED, box.output
            told = spec(python(INSTALLED), require_marker=ENVIRONMENT_MARKER)
            async with boxes.run(told, environment=(volume, True)) as box:
                assert (await box.end()).exit_code == 0, box.output
                assert box.text == fetched
        finally:
            await manager.remove_volume(volume)
