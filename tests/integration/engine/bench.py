"""Containers that run what a test gives them, in place of the runner."""

import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from ci_common.ids import ContainerId, Fence, InstanceId, new_job_id
from ci_controller.container_manager import ContainerManager
from ci_controller.container_request import NO_NETWORK, ContainerRequest, EnvironmentMount, JobLimits
from ci_controller.container_view import ContainerView, Role

LIMITS = JobLimits(memory_bytes=256 << 20, cpus=2.0, pids=64)


def docker(*arguments: str, data: bytes = b"") -> str:
    done = subprocess.run(["docker", *arguments], input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


def in_image(image: str, command: str, *options: str) -> str:
    return docker("run", "--rm", "--network=none", *options, image, "sh", "-c", command)


def labels(image: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(docker("inspect", image, "--format", "{{json .Config.Labels}}"))
    return found


def program(source: str) -> bytes:
    """`source` as the stand-in wants it on stdin."""
    data = source.encode()
    return len(data).to_bytes(4, "big") + data


@dataclass
class Bench:
    instance: InstanceId
    manager: ContainerManager
    image: str
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def request(
        self,
        *,
        network: str = NO_NETWORK,
        environment: EnvironmentMount | None = None,
        limits: JobLimits = LIMITS,
    ) -> ContainerRequest:
        return ContainerRequest(
            name=f"ci-test-{self.instance[:8]}-{next(self._numbers)}",
            image=self.image,
            role=Role.JOB,
            job_id=new_job_id(),
            fence=Fence(5),
            attempt=2,
            slot=1,
            limits=limits,
            network=network,
            environment=environment,
            frames_version=1,
        )

    async def started(
        self, source: str, data: bytes = b"", request: ContainerRequest | None = None
    ) -> ContainerId:
        """A container that runs `source` and has `data` on its stdin behind that."""
        container = await self.manager.create(request or self.request())
        assert await self.manager.start(container)
        await self.manager.feed(container, iter([program(source), data]))
        return container

    async def output(self, container: ContainerId) -> bytes:
        async with aclosing(self.manager.follow(container)) as log:
            return b"".join([piece async for piece in log])

    async def run(self, source: str, request: ContainerRequest | None = None) -> tuple[bytes, ContainerView]:
        """All that `source` prints, and its container once it has ended."""
        container = await self.started(source, request=request)
        output = await self.output(container)
        return output, await self.ended(container)

    async def ended(self, container: ContainerId) -> ContainerView:
        return await self.seen(container, lambda view: view.status.has_ended)

    async def seen(self, container: ContainerId, wanted: Callable[[ContainerView], bool]) -> ContainerView:
        """The container, as soon as it is as wanted."""
        while True:
            view = await self.manager.inspect(container)
            assert view is not None
            if wanted(view):
                return view


async def until(log: AsyncIterator[bytes], wanted: bytes) -> bytes:
    """Read until `wanted` has come."""
    seen = b""
    async for piece in log:
        seen += piece
        if wanted in seen:
            return seen
    raise AssertionError(f"{wanted!r} never came, but {seen[-1000:]!r}")
