"""Images in the engine: looking, pulling, importing, committing, naming, removing.

Two kinds are ours, told apart by labels: base images (shared by all installations on an engine, only ever
listed or built) and job images (one installation's, made of a base image and the present runner). An image
gets its name last, when it is whole; what a crash leaves behind has no name, but our label.

Only `container_manager` and the modules that build images call this.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ci_common.clock import utc_now
from ci_common.errors import EngineUnavailable
from ci_common.ids import ContainerId, InstanceId
from ci_controller import engine_json
from ci_controller.container_view import LABEL_INSTANCE, LABEL_ROLE, instance_label
from ci_controller.engine_calls import EngineCalls, Tar
from ci_controller.engine_errors import EngineRefused, InUse
from ci_controller.engine_stream import open_stream

LABEL_BASE = "ci.base"
LABEL_PYTHON = "ci.python"
LABEL_CREATED = "ci.created"
LABEL_RUNTIME = "ci.runtime"
BASE_NAME_PREFIX = "ci-python:"

Report = Callable[[str], None]
"""Takes one line for people about what a slow step is doing; called on the event loop."""

_NAMED_WITHIN = timedelta(hours=1)
_REGISTRY_SECONDS = 45
"""Within which a registry has to begin its answer."""


@dataclass(frozen=True, slots=True)
class BaseImage:
    """A base image, as people know it."""

    name: str
    """What `docker run` takes."""
    python: str
    """Such as `3.11`."""
    created_at: datetime
    size_bytes: int


@dataclass(frozen=True, slots=True)
class JobImage:
    """An image that jobs start from."""

    name: str
    """What `ContainerRequest.image` takes; the id of one that has no name (any more)."""
    id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ImageView:
    """Any image of the engine."""

    id: str
    labels: Mapping[str, str]
    created_at: datetime


class Images:
    """The engine's images, as one installation sees them."""

    def __init__(self, calls: EngineCalls, instance: InstanceId) -> None:
        self.calls = calls
        self.instance = instance

    async def look(self, name: str) -> ImageView | None:
        """The image of this name or id; None where the engine doesn't have it."""
        answer = await self.calls.look(f"/images/{name}/json")
        if answer.status == 404:
            return None
        answer.accepted(f"look at image {name}")
        labels = engine_json.mapping(engine_json.mapping(answer.object, "Config"), "Labels")
        return ImageView(
            engine_json.text(answer.object, "Id"),
            {key: engine_json.text(labels, key) for key in labels},
            engine_json.moment(answer.object, "Created"),
        )

    async def list_base(self) -> Sequence[BaseImage]:
        """See `ContainerManager.list_base_images`."""
        return [
            BaseImage(
                name=name,
                python=engine_json.text(engine_json.mapping(entry, "Labels"), LABEL_PYTHON),
                created_at=_created_at(entry),
                size_bytes=engine_json.integer(entry, "Size"),
            )
            for entry in await self._list(f"{LABEL_BASE}=1")
            for name in _names(entry)
            if name.startswith(BASE_NAME_PREFIX)
        ]

    async def list_job(self) -> Sequence[JobImage]:
        """See `ContainerManager.list_job_images`."""
        return [
            JobImage(
                name=next(iter(_names(entry)), engine_json.text(entry, "Id")),
                id=engine_json.text(entry, "Id"),
                created_at=_created_at(entry),
            )
            for entry in await self._list(instance_label(self.instance))
        ]

    async def list_old_base(self) -> Sequence[str]:
        """Ids of base images whose name went to a newer one; not those that somebody may be naming now."""
        entries = await self._list(f"{LABEL_BASE}=1")
        before = utc_now() - _NAMED_WITHIN
        return [
            engine_json.text(entry, "Id")
            for entry in entries
            if not _names(entry) and _created_at(entry) < before
        ]

    async def remove(self, image_id: str, *, with_parents: bool = False) -> None:
        """See `ContainerManager.remove_image`; nameless images that it was made of stay unless told."""
        query = {"noprune": int(not with_parents)}
        answer = await self.calls.change("DELETE", f"/images/{image_id}", query)
        if answer.status == 404:
            return
        if answer.status == 409:
            raise InUse(answer.message)
        answer.accepted(f"remove image {image_id}")

    async def pull(self, name: str, report: Report) -> None:
        """Fetch an image from its registry.

        Raises:
            EngineRefused: no registry answers, or it doesn't have the image.
            EngineUnavailable: the engine is gone.
        """
        try:
            async with asyncio.timeout(self.calls.limits.image_seconds):
                await self._pull(name, report)
        except (TimeoutError, EngineUnavailable):
            await self.calls.ping()
            raise EngineRefused("no answer from its registry in time") from None
        if await self.look(name) is None:
            raise EngineRefused(f"image {name} was not pulled to its end")

    async def _pull(self, name: str, report: Report) -> None:
        repository, tag = split_name(name)
        query = {"fromImage": repository, "tag": tag}
        async with open_stream(
            self.calls.address, "POST", "/images/create", query, limit_seconds=_REGISTRY_SECONDS
        ) as stream:
            if stream.status != 200:
                raise EngineRefused(await stream.refusal())
            layers: set[str] = set()
            async for step in stream.json_lines():
                if "error" in step:
                    raise EngineRefused(engine_json.text(step, "error"))
                if engine_json.text(step, "status") == "Pull complete":
                    layers.add(engine_json.text(step, "id"))
                    report(f"pulling {name}: {len(layers)} layers done")

    async def import_tar(self, data: Iterator[bytes]) -> str:
        """A nameless image from a root filesystem; its id."""
        query = {"fromSrc": "-", "changes": f"LABEL {LABEL_INSTANCE}={self.instance}"}
        answer = await self.calls.request(
            "POST", "/images/create", query, body=Tar(data), limit_seconds=self.calls.limits.image_seconds
        )
        answer.accepted("import a root filesystem")
        for step in map(engine_json.parsed, answer.content.splitlines()):
            if "error" in step:
                raise EngineRefused(engine_json.text(step, "error"))
            status = engine_json.text(step, "status")
            if status.startswith("sha256:"):
                return status
        raise EngineRefused("the engine imported a root filesystem, but didn't say as what")

    async def put_files(self, container_id: ContainerId, archive: Tar) -> None:
        """Unpack a tar into a container that doesn't run."""
        answer = await self.calls.request(
            "PUT",
            f"/containers/{container_id}/archive",
            {"path": "/"},
            body=archive,
            limit_seconds=self.calls.limits.image_seconds,
        )
        answer.accepted(f"put files into container {container_id}")

    async def commit(self, container_id: ContainerId, labels: Mapping[str, str]) -> str:
        """A nameless image of a container that doesn't run; its id.

        A committed container's labels go into the image, and from there into all containers made of it:
        those that would make them something of ours are emptied unless `labels` has them.
        """
        config = {
            "Labels": {LABEL_INSTANCE: "", LABEL_ROLE: "", LABEL_BASE: "", **labels},
            "Entrypoint": [],
            "Cmd": ["/bin/sh"],
        }
        answer = await self.calls.request(
            "POST",
            "/commit",
            {"container": container_id, "pause": 0},
            body=config,
            limit_seconds=self.calls.limits.image_seconds,
        )
        answer.accepted(f"commit container {container_id}")
        return engine_json.text(answer.object, "Id")

    async def name_it(self, image_id: str, name: str) -> None:
        """Give the image its name, taking it from any other that has it."""
        repository, tag = split_name(name)
        answer = await self.calls.change("POST", f"/images/{image_id}/tag", {"repo": repository, "tag": tag})
        answer.accepted(f"name image {name}")

    async def _list(self, label: str) -> Sequence[engine_json.Json]:
        answer = await self.calls.look("/images/json", {"filters": json.dumps({"label": [label]})})
        answer.accepted("list images")
        return sorted(engine_json.mappings(answer.json), key=_created_at, reverse=True)


def split_name(name: str) -> tuple[str, str]:
    """Repository and tag (or digest) of an image's name; the tag is `latest` unless given."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        return repository, digest
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def _names(entry: engine_json.Json) -> Sequence[str]:
    return [name for name in engine_json.strings(entry, "RepoTags") if name != "<none>:<none>"]


def _created_at(entry: engine_json.Json) -> datetime:
    return datetime.fromtimestamp(engine_json.integer(entry, "Created"), UTC)
