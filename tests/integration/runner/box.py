"""A runner in a real container, as the controller would have made it; read while it lives."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ci_common.ids import ContainerId, Fence, InstanceId, VolumeName, new_job_id
from ci_common.models import LogPosition, Phase
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import NO_NETWORK, ContainerRequest, EnvironmentMount, JobLimits
from ci_controller.container_view import ContainerView, Role
from ci_controller.feeding import feed_stream
from ci_controller.frames import FRAMES_VERSION, FrameDecoder, RunnerResult
from ci_controller.runner_spec import RunnerSpec, RunnerStep

MEBIBYTE = 1 << 20
UID = 20_001
VARIABLES = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/ci", "LANG": "C.UTF-8"}

Files = Sequence[tuple[str, bytes]]


def step(*argv: str, phase: Phase = Phase.TEST, **environment: str) -> RunnerStep:
    return RunnerStep(phase, argv, environment)


def python(code: str, phase: Phase = Phase.TEST) -> RunnerStep:
    return step("python3", "-c", code, phase=phase)


def spec(*steps: RunnerStep, **changes: Any) -> RunnerSpec:  # Any: a test names the field that it is about
    fields: Mapping[str, Any] = {
        "uid": UID,
        "gid": UID,
        "steps": steps,
        "time_limit_seconds": 60,
        "environment": VARIABLES,
        **changes,
    }
    return RunnerSpec(**fields)


@dataclass
class Box:
    """One container and what its log has brought so far."""

    manager: ContainerManager
    id: ContainerId
    output: dict[Phase, str] = field(default_factory=lambda: dict.fromkeys(Phase, ""))
    notices: list[str] = field(default_factory=list[str])
    fed: bool = False
    since_fed_seconds: dict[str, float] = field(default_factory=dict[str, float])
    frames: int = 0
    _result: RunnerResult | None = None

    def __post_init__(self) -> None:
        self._decoder = FrameDecoder(LogPosition())
        self._log = self.manager.follow(self.id)

    @property
    def text(self) -> str:
        """What the tests have written."""
        return self.output[Phase.TEST]

    async def feed(self, told: RunnerSpec, files: Files = ()) -> None:
        await self.manager.feed(self.id, feed_stream(told, files))

    async def ready(self) -> None:
        """Read on until the runner is up: before that, a signal to process 1 is dropped by the kernel."""
        while not self.frames:
            assert await self._read(), "the runner never came up"

    async def until(self, text: str) -> None:
        """Read on until the tests have written `text`."""
        while text not in self.text:
            assert await self._read(), f"{text!r} never came, but {self.text!r}"

    async def end(self) -> RunnerResult:
        """Read to the end of the log; the last frame."""
        while await self._read():
            pass
        assert self._result is not None, f"no last frame, but {self.output}"
        return self._result

    async def view(self) -> ContainerView:
        view = await self.manager.inspect(self.id)
        assert view is not None
        return view

    async def close(self) -> None:
        async with aclosing(self._log):
            await self.manager.remove(self.id)

    async def _read(self) -> bool:
        data = await anext(self._log, None)
        batch = self._decoder.finish() if data is None else self._decoder.feed(data)
        for phase, text in batch.chunks:
            self.output[phase] += text
        self.notices += batch.notices
        self.fed |= batch.fed
        self.since_fed_seconds.update(batch.since_fed_seconds)
        self.frames += 0 if data is None else data.count(b"\n")
        self._result = self._result or batch.result
        return data is not None


@dataclass
class Boxes:
    """Makes containers of one image."""

    image: str
    instance: InstanceId

    @asynccontextmanager
    async def open(
        self,
        *,
        memory_bytes: int = 512 * MEBIBYTE,
        pids: int = 128,
        environment: tuple[VolumeName, bool] | None = None,
    ) -> AsyncGenerator[Box]:
        """A started container that waits for its files."""
        job_id = new_job_id()
        request = ContainerRequest(
            name=f"ci-test-{job_id}",
            image=self.image,
            role=Role.JOB,
            job_id=job_id,
            fence=Fence(1),
            attempt=1,
            slot=1,
            limits=JobLimits(memory_bytes, 2, pids),
            network=NO_NETWORK,
            environment=None if environment is None else EnvironmentMount(environment[0], environment[1]),
            frames_version=FRAMES_VERSION,
        )
        async with ContainerManager(self.instance) as manager:
            box = Box(manager, await manager.create(request))
            try:
                assert await manager.start(box.id)
                yield box
            finally:
                await box.close()

    @asynccontextmanager
    async def run(self, told: RunnerSpec, files: Files = (), **limits: Any) -> AsyncGenerator[Box]:
        """A container that has got its files."""
        async with self.open(**limits) as box:  # Any: passed on as it is
            await box.feed(told, files)
            yield box
