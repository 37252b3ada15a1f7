"""A root filesystem with Python from Debian packages, for machines that no image registry answers.

Needs root and the program of this name, which is installed where apt is there. Nothing of it runs outside
the temporary folder; all that it started is ended when the caller gives up.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ci_controller.engine_errors import ImageBuildFailed
from ci_controller.images import Report
from ci_controller.threads import in_thread

SUITES: Final = {"3.11": "bookworm", "3.13": "trixie"}
"""Debian's release by the Python that it carries."""

_PACKAGES = ("python3", "python3-venv", "ca-certificates", "iptables")
_LEFT_OUT = (
    "./dev/*",
    "./proc/*",
    "./sys/*",
    "./tmp/*",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./var/log/*",
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./debootstrap",
)
_ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_REPORT_SECONDS = 2.0
_PIECE_BYTES = 1 << 20


@asynccontextmanager
async def root_filesystem(python: str, report: Report) -> AsyncGenerator[Path, None]:
    """A folder with a minimal Debian that has this Python; removed afterwards.

    Raises:
        ImageBuildFailed: not root, no debootstrap, or it failed; the message says what to do.
    """
    suite = SUITES[python]
    if os.geteuid() != 0:
        raise ImageBuildFailed(
            "building from Debian packages needs root: run `ci-admin image build` as root once"
        )
    program = await _program(report)
    # Not /tmp, which is often in memory or mounted without devices.
    folder = Path(
        await in_thread(lambda: tempfile.mkdtemp(prefix="ci-image-", dir="/var/tmp"), name="mkdtemp")
    )
    try:
        include = f"--include={','.join(_PACKAGES)}"
        command = [program, "--variant=minbase", include, suite, str(folder / "root")]
        report(f"building from Debian packages ({suite}, Python {python}); this takes about a minute")
        await _run(command, report)
        yield folder / "root"
    finally:
        await in_thread(lambda: shutil.rmtree(folder, ignore_errors=True), name="rmtree")


def tar_of(root: Path) -> Iterator[bytes]:
    """The root filesystem as a tar, without what an image doesn't need."""
    excluded = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    command = ["tar", "--numeric-owner", *excluded, "-C", str(root), "-c", "."]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None, "a pipe was asked for"
        while piece := process.stdout.read(_PIECE_BYTES):
            yield piece
    if process.returncode != 0:
        raise ImageBuildFailed(f"tar of the root filesystem failed with {process.returncode}")


async def _program(report: Report) -> str:
    """Where debootstrap is, installed where it wasn't."""
    search = f"{os.environ.get('PATH', '')}:{_ADMIN_PATH}"
    program = shutil.which("debootstrap", path=search)
    if program is None and (apt := shutil.which("apt-get", path=search)):
        report("installing debootstrap")
        await _run([apt, "-q", "update"], report)
        await _run([apt, "-q", "install", "-y", "debootstrap"], report)
        program = shutil.which("debootstrap", path=search)
    if program is None:
        raise ImageBuildFailed(
            "debootstrap is not installed: install it, or let an image registry be reached"
        )
    return program


async def _run(command: Sequence[str], report: Report) -> None:
    """Run to the end, reporting what it says now and then; its process group dies with this call."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
    )
    try:
        last = await _relay(process, report)
        code = await process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code != 0:
        raise ImageBuildFailed(f"{Path(command[0]).name} failed: {last or f'exit {code}'}")


async def _relay(process: asyncio.subprocess.Process, report: Report) -> str:
    """Report a line every few seconds; the last line."""
    assert process.stdout is not None, "a pipe was asked for"
    clock = asyncio.get_running_loop().time
    line, reported = "", clock()
    async for raw in process.stdout:
        text = raw.decode(errors="replace").strip()
        line = text or line
        if text and clock() - reported >= _REPORT_SECONDS:
            reported = clock()
            report(text.removeprefix("I: "))
    return line
