"""Receives a submission's body: streamed to disk, bounded in size and time, judged before a job exists.

Invariants: the caller is known before the first byte of the body is asked for; at most two blocks of
it are in memory; whatever goes wrong leaves neither file nor job; every fault has its own 4xx, except
a disk that is full (507).
"""

import asyncio
import errno
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from fastapi import Request
from starlette.requests import ClientDisconnect

from ci_common.bundle_store import BundleStore, IncomingBundle
from ci_common.content_store import Changes, Content
from ci_common.errors import StorageFull
from ci_common.ids import UserId
from ci_common.job_times import Milestone, Stopwatch
from ci_common.models import SubmitOptions
from ci_server.archive_check import ArchiveCheck, Checked
from ci_server.blocking import run_blocking
from ci_server.composing_turns import ComposingTurns
from ci_server.errors import UploadRefused
from ci_server.multipart_form import MAX_OPTIONS_BYTES, SubmissionForm
from ci_server.schemas import parse_options
from ci_server.settings import ServerSettings

_BLOCK_BYTES = 1 << 20
_ENVELOPE_BYTES = MAX_OPTIONS_BYTES + (64 << 10)
"""What a form may have beside its file."""
_RATE_GRACE_SECONDS = 30.0
_KEEP_HEADER = "keep-contents"
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Upload:
    """A submission that has arrived whole and passed."""

    bundle: IncomingBundle
    bundle_bytes: int
    options: SubmitOptions
    contents: Sequence[Content] | None
    """Of its files, where they are to be kept for later submissions."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """What receiving needs."""

    bundles: BundleStore
    check: ArchiveCheck
    turns: ComposingTurns
    settings: ServerSettings
    checkers: Executor


@asynccontextmanager
async def received_upload(
    request: Request, receiver: Receiver, user_id: UserId, watch: Stopwatch
) -> AsyncGenerator[Upload]:
    """The submission in the request's body; its file is released at the end unless published. `watch`
    notes when it was whole, and when it was judged.

    Raises:
        UploadRefused: size, speed or form are not acceptable.
        InvalidInput: the options make no sense, or the archive breaks a rule.
        TooMuchUnfinished: it names contents, and the user's unfinished jobs hold too much already.
        StorageFull: there is no room for it.
        ClientDisconnect: its sender has left.
    """
    settings = receiver.settings
    refuse_announced_size(request, settings)
    # The form is judged as far as the headers tell before a file is opened for it.
    spool = _Spool(settings.max_upload_bytes)
    form = SubmissionForm(request.headers.get("content-type"), spool.take)
    arrived = await run_blocking(receiver.bundles.receive)
    checked: Checked | None = None
    async with AsyncExitStack() as turn:
        try:
            async for chunk in timely_body(request, settings):
                form.feed(chunk)
                await spool.write_to(arrived.file)
            form.finish()
            await spool.finish(arrived.file)
            watch.mark(Milestone.UPLOADED)
            options = SubmitOptions() if form.options is None else parse_options(form.options)
            wants_kept = request.headers.get(_KEEP_HEADER, "").lower() == "true"
            judge = partial(receiver.check.judge, arrived, spool.size_bytes, wants_kept=wants_kept)
            judged = await run_blocking(judge, receiver.checkers)
            if isinstance(judged, Changes):
                await turn.enter_async_context(receiver.turns.turn_of(user_id))
                await _require_sender(request)
                judged = await run_blocking(
                    partial(receiver.check.compose, judged, user_id), receiver.checkers
                )
            checked = judged
            watch.mark(Milestone.CHECKED)
            await run_blocking(checked.bundle.sync)
            # Whoever cancels while it is being sent must not find that a job was made after all.
            await _require_sender(request)
            yield Upload(
                bundle=checked.bundle,
                bundle_bytes=checked.size_bytes,
                options=options,
                contents=checked.contents,
            )
        finally:
            await spool.abandon()
            await run_blocking(arrived.discard)
            if checked is not None and checked.bundle is not arrived:
                await run_blocking(checked.bundle.discard)


async def _require_sender(request: Request) -> None:
    if await request.is_disconnected():
        raise ClientDisconnect


def refuse_announced_size(request: Request, settings: ServerSettings) -> None:
    """Refuse a body that announces itself as too large, before it is asked for.

    Raises:
        UploadRefused: it does.
    """
    announced = request.headers.get("content-length", "")
    announced_bytes = int(announced) if announced.isascii() and announced.isdigit() else 0
    if announced_bytes > settings.max_upload_bytes + _ENVELOPE_BYTES:
        raise _too_large(settings.max_upload_bytes)


def _too_large(limit_bytes: int) -> UploadRefused:
    return UploadRefused(
        413, f"the upload is larger than the {limit_bytes} bytes that CI_MAX_UPLOAD_BYTES allows"
    )


async def timely_body(request: Request, settings: ServerSettings) -> AsyncIterator[bytes]:
    """The body's pieces, as long as they come fast enough and don't become too many.

    Raises:
        UploadRefused: they don't.
        ClientDisconnect: the sender left before the end.
    """
    began = time.monotonic()
    received_bytes = 0
    pieces = aiter(request.stream())
    while True:
        try:
            async with asyncio.timeout(settings.upload_idle_seconds):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise UploadRefused(
                408, f"nothing of the upload has come for {settings.upload_idle_seconds:g} seconds"
            ) from None
        if piece is None:
            return
        received_bytes += len(piece)
        if received_bytes > settings.max_upload_bytes + _ENVELOPE_BYTES:
            raise _too_large(settings.max_upload_bytes)
        elapsed_seconds = time.monotonic() - began
        if is_too_slow(received_bytes, elapsed_seconds, settings.upload_min_bytes_per_second):
            raise UploadRefused(408, "the upload is too slow")
        yield piece


def is_too_slow(received_bytes: int, elapsed_seconds: float, min_bytes_per_second: int) -> bool:
    """Whether an upload has been slower than allowed for long enough to be given up."""
    return elapsed_seconds > _RATE_GRACE_SECONDS and received_bytes < elapsed_seconds * min_bytes_per_second


async def discard_body(request: Request, settings: ServerSettings) -> None:
    """Read the body to its end without keeping it, under the same limits.

    Raises:
        UploadRefused: it is too large or too slow.
        ClientDisconnect: its sender has left.
    """
    refuse_announced_size(request, settings)
    async for _ in timely_body(request, settings):
        pass


class _Spool:
    """Gathers pieces into blocks; one block is written by a thread while the next one is gathered."""

    def __init__(self, max_bytes: int) -> None:
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._pieces: list[bytes] = []
        self._gathered_bytes = 0
        self._writing: asyncio.Future[None] | None = None

    def take(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            UploadRefused: more than the limit.
        """
        self.size_bytes += len(piece)
        if self.size_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._pieces.append(piece)
        self._gathered_bytes += len(piece)

    async def write_to(self, file: BinaryIO) -> None:
        """Begin to write a block if there is a whole one; waits for the block before it.

        Raises:
            StorageFull: the block before it found no room.
        """
        if self._gathered_bytes >= _BLOCK_BYTES:
            await self._begin_write(file)

    async def finish(self, file: BinaryIO) -> None:
        """Write what is left.

        Raises:
            StorageFull: there is no room.
        """
        await self._begin_write(file)
        await self._finish_write()

    async def abandon(self) -> None:
        """No thread uses the file behind this; how its last write ended is of no interest any more."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _begin_write(self, file: BinaryIO) -> None:
        await self._finish_write()
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._gathered_bytes = 0
        self._writing = asyncio.ensure_future(run_blocking(partial(_write_block, file, block)))

    async def _finish_write(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing


def _write_block(file: BinaryIO, block: bytes) -> None:
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise StorageFull("the server's disk is full; nothing was accepted") from error
        raise
