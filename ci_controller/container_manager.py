"""The gateway to the container engine: all that the controller and `ci-admin` ask of it.

Why it exists: nothing outside `ci_controller` may know Docker, and inside it nothing beside this class and
its parts (one module a noun, in the same folder) does, so that another engine needs another manager only.

Invariants:
- Every call has a time limit; one that hangs holds up its own caller alone. No engine, or no answer in
  time, is `EngineUnavailable`; what the engine refuses is an error of `engine_errors`.
- "Gone" is a normal answer: None, False or nothing, never an error.
- Containers are addressed by id. What bears another installation's `ci.instance` is never listed,
  signalled or removed, except shared base images, which are only ever listed.
- What the engine was asked for may still happen after the asker's time ran out or it was cancelled: look
  again (`list`) before acting on the contrary.

Made on the event loop that uses it; the connection itself is made by the first call. Not for threads.
"""

import os
import signal as signals
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from ci_common.ids import ContainerId, InstanceId, VolumeName
from ci_controller import base_image, engine_events, engine_status, job_image, log_stream, stdin_stream
from ci_controller.container_request import ContainerRequest
from ci_controller.container_view import ContainerView
from ci_controller.containers import Containers
from ci_controller.engine_address import EngineAddress
from ci_controller.engine_calls import EngineCalls, TimeLimits
from ci_controller.images import BaseImage, Images, JobImage, Report
from ci_controller.network import NetworkPolicy, Networks, NetworkState
from ci_controller.volumes import Volumes, VolumeView


class ContainerManager:
    """The engine, as one installation sees it."""

    def __init__(
        self,
        instance: InstanceId,
        environ: Mapping[str, str] = os.environ,
        limits: TimeLimits | None = None,
    ) -> None:
        self._instance = instance
        self._address = EngineAddress.from_environ(environ)
        self._calls = EngineCalls(self._address, limits or TimeLimits())
        self._containers = Containers(self._calls, instance)
        self._volumes = Volumes(self._calls, instance)
        self._images = Images(self._calls, instance)
        self._networks = Networks(self._calls, self._containers, instance)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Release the connections; streams are closed by whoever reads them."""
        self._calls.close()

    async def ping(self) -> None:
        """Return when the engine answers.

        Raises:
            EngineUnavailable: it doesn't.
        """
        await self._calls.ping()

    async def status(self) -> engine_status.EngineStatus:
        """Version, storage and cgroups of the engine, and what this installation has in it."""
        return await engine_status.read(self._calls, self._instance)

    # Containers

    async def create(self, request: ContainerRequest) -> ContainerId:
        """A container that doesn't run yet.

        Raises:
            NameTaken: with the id of the one that has the name.
            ImageMissing: the engine doesn't have the image.
            VolumeMissing: the environment isn't there.
            EngineRefused: the engine's own reason.
        """
        return await self._containers.create(request)

    async def start(self, container_id: ContainerId) -> bool:
        """Start what has never run; False where it is gone.

        Raises:
            AlreadyStarted: it runs or ran.
            StartFailed: its process could not be started.
        """
        return await self._containers.start(container_id)

    async def rename(self, container_id: ContainerId, name: str) -> None:
        """Give it another name; one that is gone is no error.

        Raises:
            NameTaken: with the id of the one that has the name.
        """
        await self._containers.rename(container_id, name)

    async def feed(self, container_id: ContainerId, stream: Iterator[bytes]) -> None:
        """Send all of `stream` to the container's stdin, then close that; once at most a container.

        `stream` is read in a thread; what it raises is raised here, and the container then sees an
        early end. Cancelling closes stdin at once. Having returned means that the engine has it all;
        that the container has is for its runner to say.

        Raises:
            FeedFailed: it is gone, doesn't run, closed stdin early, or took nothing for too long.
        """
        await stdin_stream.feed(self._address, self._calls.limits, container_id, stream)

    def follow(self, container_id: ContainerId) -> AsyncGenerator[bytes, None]:
        """What the container wrote to stdout, from its first byte, then live until its log ends.

        The end of the log isn't the end of the container: inspect afterwards. Nothing for a container
        that is gone. Read it under `contextlib.aclosing`. A reader that stands still holds up neither
        the container nor anything else.

        Raises:
            EngineUnavailable: the connection was lost on the way.
        """
        return log_stream.follow(self._address, self._calls.limits, container_id)

    async def inspect(self, container_id: ContainerId) -> ContainerView | None:
        """The container now; None where it is gone."""
        return await self._containers.inspect(container_id)

    async def list(self) -> Sequence[ContainerView]:
        """All containers of this installation, of every role and state, without exit codes."""
        return await self._containers.list()

    async def signal(self, container_id: ContainerId, signal: signals.Signals) -> bool:
        """Send `signal` to process 1; False where it doesn't run."""
        return await self._containers.signal(container_id, signal)

    async def kill(self, container_id: ContainerId) -> bool:
        """SIGKILL to everything in it; the log stays. False where it doesn't run."""
        return await self._containers.signal(container_id, signals.SIGKILL)

    async def remove(self, container_id: ContainerId) -> None:
        """End it if it runs, then remove it with its log and files; named volumes stay."""
        await self._containers.remove(container_id)

    def engine_events(self) -> AsyncGenerator[ContainerId, None]:
        """Ids of this installation's containers that started, died, were killed for memory or removed.

        A hint alone: the engine loses events. What happened since this call is included, so list after
        calling. Read it under `contextlib.aclosing`.

        Raises:
            EngineUnavailable: the connection was lost; the only way in which it ends.
        """
        return engine_events.watch(self._address, self._calls.limits, self._instance)

    # Volumes

    async def create_volume(self, name: VolumeName) -> None:
        """An empty volume of this installation; one that exists stays as it is."""
        await self._volumes.create(name)

    async def list_volumes(self) -> Sequence[VolumeView]:
        """The volumes of this installation."""
        return await self._volumes.list()

    async def remove_volume(self, name: VolumeName) -> None:
        """Remove it; one that isn't there is no error.

        Raises:
            InUse: a container has it.
        """
        await self._volumes.remove(name)

    # Network

    async def ensure_network(self, policy: NetworkPolicy, image: str) -> NetworkState:
        """Make the installation's network, close it against host and neighbours, and try that it is.

        `image` is the job image, in which the trial runs. To be called at start and after each restart
        of the engine. A state without a name means: run jobs with `NO_NETWORK`, and say its reason.
        """
        return await self._networks.ensure(policy, image)

    async def remove_network(self, image: str | None = None) -> None:
        """Remove the network and the rules that close it; `image` is needed where root isn't ours.

        Raises:
            InUse: a container is on it.
        """
        await self._networks.remove(image)

    # Images

    async def ensure_base_image(self, python: str | None, report: Report) -> BaseImage:
        """The shared base image for a Python version (None: the default one), made where missing.

        Raises:
            ImageBuildFailed: no way led to it; the message says what to do.
        """
        return await base_image.ensure(self._images, self._containers, python, report)

    async def build_base_image(self, python: str | None, report: Report) -> BaseImage:
        """Make it anew, also where there is one.

        Raises:
            ImageBuildFailed: no way led to it; the message says what to do.
        """
        return await base_image.build(self._images, self._containers, python, report)

    async def list_base_images(self) -> Sequence[BaseImage]:
        """The shared base images, newest first."""
        return await self._images.list_base()

    async def ensure_job_image(self, base_name: str, report: Report) -> JobImage:
        """The image that jobs start from: `base_name` with the present runner and what it lacks.

        Quick where it exists. Pulls `base_name` where the engine doesn't have it.

        Raises:
            ImageBuildFailed: `base_name` can't be had, or isn't fit for it; the message says why.
        """
        return await job_image.ensure(self._images, self._containers, base_name, report)

    async def list_job_images(self) -> Sequence[JobImage]:
        """The job images of this installation, newest first, with those without a name."""
        return await self._images.list_job()

    async def remove_image(self, image_id: str) -> None:
        """Remove a job image; one that isn't there is no error.

        Raises:
            InUse: a container was made of it.
        """
        await self._images.remove(image_id)
