"""The image that jobs start from: a base image with the runner of this release, and what it lacks.

Its name is a hash of everything that it is made of, so that it is looked for in one call and a new release,
another base or another installation has one of its own. Made without a network and, of our own base images,
without running anything in them.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ci_common.ids import InstanceId
from ci_controller.container_request import NO_NETWORK
from ci_controller.container_view import LABEL_INSTANCE
from ci_controller.containers import Containers
from ci_controller.engine_errors import EngineRefused, ImageBuildFailed
from ci_controller.image_build import AddedFile, UvMissing, build_container, outfit_image, uv_file
from ci_controller.images import LABEL_BASE, LABEL_RUNTIME, Images, ImageView, JobImage, Report
from ci_controller.threads import in_thread

RECIPE_VERSION: Final = 2
"""Grows whenever this module or `outfit` makes something else of the same files."""
RUNNER_FOLDER: Final = "/opt/ci"
_NOT_THE_RUNNERS = "runner_spec.py"
"""The controller's half of the contract."""


async def ensure(images: Images, containers: Containers, base_name: str, report: Report) -> JobImage:
    """See `ContainerManager.ensure_job_image`."""
    base = await images.look(base_name) or await _pulled(images, base_name, report)
    files = await in_thread(runner_files, name="runner files")
    tag = await in_thread(lambda: fingerprint(images.instance, base.id, files), name="fingerprint")
    name = f"ci-job:{tag}"
    present = await images.look(name)
    if present is None:
        report(f"adding the runner to {base_name}")
        labels = {LABEL_INSTANCE: images.instance, LABEL_RUNTIME: tag}
        try:
            made = await _made(images, containers, base, files=files, labels=labels, report=report)
        except EngineRefused as error:
            raise ImageBuildFailed(f"no job image can be made of {base_name}: {error}") from error
        await images.name_it(made, name)
        present = await images.look(name)
        if present is None:
            raise ImageBuildFailed(f"image {name} is gone as soon as it was made")
    return JobImage(name, present.id, present.created_at)


def runner_files() -> Sequence[AddedFile]:
    """The runner and the parts that it imports, as they lie beside this module."""
    found = sorted(Path(__file__).parent.glob("runner*.py"))
    return [
        AddedFile(f"{RUNNER_FOLDER}/{source.name}", source, 0o644)
        for source in found
        if source.name != _NOT_THE_RUNNERS
    ]


def fingerprint(instance: InstanceId, base_id: str, files: Sequence[AddedFile]) -> str:
    """The hash that tells two job images apart."""
    digest = hashlib.sha256(f"{RECIPE_VERSION}\n{instance}\n{base_id}\n".encode())
    for file in files:
        digest.update(f"{file.path}\n{file.mode}\n".encode())
        digest.update(hashlib.sha256(file.source.read_bytes()).digest())
    return digest.hexdigest()[:16]


async def _pulled(images: Images, name: str, report: Report) -> ImageView:
    report(f"pulling {name}")
    try:
        await images.pull(name, report)
    except EngineRefused as error:
        raise ImageBuildFailed(
            f"the engine doesn't have image {name}, and it can't be pulled ({error}): "
            "build it, or let CI_PYTHON_BASE_IMAGE name one that can be had"
        ) from error
    pulled = await images.look(name)
    if pulled is None:
        raise ImageBuildFailed(f"image {name} is gone as soon as it was pulled")
    return pulled


async def _made(
    images: Images,
    containers: Containers,
    base: ImageView,
    *,
    files: Sequence[AddedFile],
    labels: dict[str, str],
    report: Report,
) -> str:
    if base.labels.get(LABEL_BASE) == "1":
        async with build_container(
            images, containers, base.id, ["true"], files=files, network=NO_NETWORK
        ) as container:
            return await images.commit(container, labels)
    files = [*files, uv_file()]
    try:
        outfitted = await outfit_image(images, containers, base.id, files, labels, may_install=False)
    except UvMissing as error:
        report(f"{error}; installing it from the package index")
        outfitted = await outfit_image(images, containers, base.id, files, labels, may_install=True)
    for note in outfitted.notes:
        report(note)
    return outfitted.id
