"""Base images: a Python, uv, an unprivileged user; shared by all installations on an engine.

Two ways to the same image: the slim official image where a registry answers, Debian packages where none
does. Which way was taken is reported.
"""

from dataclasses import dataclass
from typing import Final

from ci_common.clock import to_iso, utc_now
from ci_controller import debootstrap
from ci_controller.containers import Containers
from ci_controller.engine_errors import EngineRefused, ImageBuildFailed, InUse
from ci_controller.image_build import outfit_image, uv_file
from ci_controller.images import (
    BASE_NAME_PREFIX,
    LABEL_BASE,
    LABEL_CREATED,
    LABEL_PYTHON,
    BaseImage,
    Images,
    Report,
)

DEFAULT_PYTHON: Final = "3.11"


def name_of(python: str) -> str:
    """What the base image for a Python version is called."""
    return f"{BASE_NAME_PREFIX}{python}"


async def ensure(images: Images, containers: Containers, python: str | None, report: Report) -> BaseImage:
    """See `ContainerManager.ensure_base_image`."""
    version = python or DEFAULT_PYTHON
    return await _present(images, version) or await build(images, containers, version, report)


async def build(images: Images, containers: Containers, python: str | None, report: Report) -> BaseImage:
    """See `ContainerManager.build_base_image`."""
    version = python or DEFAULT_PYTHON
    name = name_of(version)
    try:
        source = await _source(images, version, report)
        report(f"adding uv and the job's user to {source.described}")
        labels = {LABEL_BASE: "1", LABEL_PYTHON: version, LABEL_CREATED: to_iso(utc_now())}
        made = await outfit_image(
            images, containers, source.image, [uv_file()], labels, may_install=source.may_install
        )
        if made.python != version:
            raise ImageBuildFailed(f"{source.described} has Python {made.python}, not {version}")
        await images.name_it(made.id, name)
    except EngineRefused as error:
        raise ImageBuildFailed(f"the base image for Python {version} can't be built: {error}") from error
    for note in made.notes:
        report(note)
    await _remove_old(images)
    present = await _present(images, version)
    if present is None:
        raise ImageBuildFailed(f"image {name} is gone as soon as it was made")
    report(f"{name} is built from {source.described}")
    return present


@dataclass(frozen=True, slots=True)
class _Source:
    image: str
    described: str
    may_install: bool
    """Something may be missing from it that its distribution has."""


async def _source(images: Images, version: str, report: Report) -> _Source:
    """What the base image is made of: the first way that can be gone."""
    slim = f"python:{version}-slim"
    report(f"looking for {slim} in an image registry")
    try:
        await images.pull(slim, report)
    except EngineRefused as refusal:
        if await images.look(slim) is None:
            report(f"no image registry gives {slim} ({refusal})")
            return await _from_packages(images, version, report)
    return _Source(slim, f"the official image {slim}", may_install=True)


async def _from_packages(images: Images, version: str, report: Report) -> _Source:
    if version not in debootstrap.SUITES:
        raise ImageBuildFailed(
            f"Python {version} can be had from an image registry alone; "
            f"from Debian packages there are {' and '.join(debootstrap.SUITES)}"
        )
    async with debootstrap.root_filesystem(version, report) as root:
        report("importing it into the engine")
        imported = await images.import_tar(debootstrap.tar_of(root))
    return _Source(imported, f"Debian packages ({debootstrap.SUITES[version]})", may_install=False)


async def _present(images: Images, version: str) -> BaseImage | None:
    wanted = name_of(version)
    return next((image for image in await images.list_base() if image.name == wanted), None)


async def _remove_old(images: Images) -> None:
    """Remove base images whose name went to a newer one; those that job images stand on go next time."""
    for image_id in await images.list_old_base():
        try:
            await images.remove(image_id, with_parents=True)
        except InUse:
            continue
