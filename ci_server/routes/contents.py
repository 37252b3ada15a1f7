"""Which files a submission needn't hold, because the caller has sent them before."""

from functools import partial

from fastapi import APIRouter, Request

from ci_common.bundle import DIGEST_BYTES
from ci_server.blocking import run_blocking
from ci_server.dependencies import Authenticated, Ready
from ci_server.errors import UploadRefused
from ci_server.schemas import MissingContents, Problem
from ci_server.upload import timely_body

router = APIRouter(tags=["submissions"])

_REFUSALS: dict[int | str, dict[str, object]] = {
    status: {"model": Problem} for status in (401, 408, 413, 422, 503)
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/contents/missing", responses=_REFUSALS, openapi_extra=_BODY)
async def missing_contents(request: Request, caller: Authenticated, services: Ready) -> MissingContents:
    """Of the SHA-256 digests in the body, 32 bytes each, those whose contents must be sent."""
    limit_bytes = services.settings.max_bundle_entries * DIGEST_BYTES
    body = bytearray()
    async for piece in timely_body(request, services.settings):
        body += piece
        if len(body) > limit_bytes:
            raise UploadRefused(413, f"more digests than the {services.settings.max_bundle_entries} allowed")
    if len(body) % DIGEST_BYTES:
        raise UploadRefused(422, f"the body is not a row of SHA-256 digests, {DIGEST_BYTES} bytes each")
    digests = [bytes(body[at : at + DIGEST_BYTES]) for at in range(0, len(body), DIGEST_BYTES)]
    held = await run_blocking(partial(services.contents.held, caller.user.id, digests))
    return MissingContents(missing=[place for place, digest in enumerate(digests) if digest not in held])
