"""One step from an image to a better one: a container of it, files into that, a commit.

Used for base images (`base_image`) and job images (`job_image`). Invariants: what a crash leaves is a
container with our label and role BUILD or an image without a name; the result is named by the caller, last.
"""

import inspect
import io
import tarfile
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import uv

from ci_common.ids import ContainerId
from ci_controller import engine_json, outfit
from ci_controller.container_view import LABEL_INSTANCE, LABEL_ROLE, Role
from ci_controller.containers import Containers
from ci_controller.engine_calls import Tar
from ci_controller.engine_errors import EngineRefused, ImageBuildFailed
from ci_controller.helper_container import helper_name
from ci_controller.images import Images
from ci_controller.isolation import output_of
from ci_controller.threads import in_thread

OUTFIT_SECONDS: Final = 1500
BRIDGE_NETWORK: Final = "bridge"
ISOLATED_NETWORK: Final = "none"


@dataclass(frozen=True, slots=True)
class AddedFile:
    """A file that goes into an image."""

    path: str
    """Absolute."""
    source: Path
    mode: int


@dataclass(frozen=True, slots=True)
class Outfitted:
    """A nameless image that has what jobs need."""

    id: str
    python: str
    notes: Sequence[str]


def uv_file() -> AddedFile:
    """The uv that came with this installation; runs in all images with glibc."""
    return AddedFile(outfit.UV, Path(uv.find_uv_bin()), 0o755)


def tar_of(files: Sequence[AddedFile]) -> IO[bytes]:
    """An archive of `files`, root's, that is the same whenever it is made."""
    archive = tempfile.TemporaryFile(prefix="ci-image-")  # noqa: SIM115 - closed by whoever sends it
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in files:
            data = file.source.read_bytes()
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode = len(data), file.mode
            tar.addfile(entry, io.BytesIO(data))
    archive.seek(0)
    return archive


async def outfit_image(
    images: Images,
    containers: Containers,
    source: str,
    files: Sequence[AddedFile],
    labels: Mapping[str, str],
    *,
    may_install: bool,
) -> Outfitted:
    """An image from `source` with `files`, users, folders and a uv that runs.

    With `may_install` it may fetch what is missing from outside.

    Raises:
        ImageBuildFailed: `source` isn't fit for it.
    """
    command = ["python3", "-I", "-S", "-B", "-c", inspect.getsource(outfit)]
    if may_install:
        # pip lives in site-packages, which -S leaves out; that is for the subprocess, not for this one.
        command.append("--install")
    network = BRIDGE_NETWORK if may_install else ISOLATED_NETWORK
    async with build_container(
        images, containers, source, command, files=files, network=network
    ) as container:
        try:
            code = await containers.run_to_end(container, OUTFIT_SECONDS)
        except EngineRefused as error:
            raise ImageBuildFailed(f"image {source} has no python3 that can be run: {error}") from error
        said = await output_of(images.calls, container)
        if code != 0:
            raise ImageBuildFailed(f"image {source} can't be used: {said}")
        found = engine_json.parsed(said.encode())
        if not engine_json.text(found, "uv"):
            raise UvMissing(f"the uv of this installation doesn't run in image {source}")
        image_id = await images.commit(container, labels)
    return Outfitted(image_id, engine_json.text(found, "python"), engine_json.strings(found, "notes"))


class UvMissing(ImageBuildFailed):
    """Another uv has to be installed from inside the image."""


@asynccontextmanager
async def build_container(
    images: Images,
    containers: Containers,
    source: str,
    command: Sequence[str],
    *,
    files: Sequence[AddedFile],
    network: str,
) -> AsyncGenerator[ContainerId, None]:
    """A container of `source` that holds `files` and hasn't run; removed afterwards."""
    config: dict[str, object] = {
        "Image": source,
        "Entrypoint": list(command),
        "Cmd": [],
        "User": "0:0",
        "WorkingDir": "/",
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {LABEL_INSTANCE: images.instance, LABEL_ROLE: Role.BUILD.value},
        "HostConfig": {"NetworkMode": network, "LogConfig": {"Type": "json-file", "Config": {}}},
    }
    container = await containers.create_from(helper_name(images.instance, "build"), config)
    try:
        with await in_thread(lambda: tar_of(files), name="image files") as archive:
            await images.put_files(container, Tar(archive))
        yield container
    finally:
        await containers.remove(container)
