"""Submissions: the archive becomes a job, and the answer is its id or its events.

`Idempotency-Key` becomes the job's id: sent again, also at the same time and to another replica, it
makes no second job.
"""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse
from starlette.responses import Response

from ci_common.clock import utc_now
from ci_common.errors import AlreadyExists, CIError, NotFound, StorageFull
from ci_common.ids import JobId, new_job_id
from ci_common.job_times import JobTimes, Stopwatch
from ci_common.models import Job, Submission
from ci_server.auth import Caller
from ci_server.backend import Services
from ci_server.blocking import run_blocking
from ci_server.dependencies import Arrival, Authenticated, BackendOf, Ready, requested_key
from ci_server.errors import NotReady, status_of
from ci_server.event_reader import unnumbered_frame
from ci_server.metrics import ReplicaMetrics
from ci_server.schemas import Accepted, Problem
from ci_server.streaming import EventStreamResponse, JobStream
from ci_server.upload import Upload, discard_body, received_upload

router = APIRouter(tags=["submissions"])

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "options": {"type": "string", "contentMediaType": "application/json"},
                    },
                }
            }
        },
    }
}
_REFUSALS: dict[int | str, dict[str, object]] = {
    status: {"model": Problem} for status in (400, 401, 408, 409, 413, 415, 422, 429, 503, 507)
}
_STREAM: dict[int | str, dict[str, object]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    **_REFUSALS,
}

IdempotencyKey = Annotated[
    str | None, Header(alias="Idempotency-Key", description="A UUID, which becomes the job's id.")
]


@router.post("/submit", response_class=Response, responses=_STREAM, openapi_extra=_FORM)
async def submit(
    request: Request,
    watch: Arrival,
    backend: BackendOf,
    services: Ready,
    caller: Authenticated,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a project; the answer is its events until it completes."""
    key = requested_key(idempotency_key)
    job = await _accepted(request, watch, services, caller, key, backend.metrics)
    return _events_of(job, services, caller, preamble=b"")


@router.post("/submit-stream", response_class=Response, responses=_STREAM, openapi_extra=_FORM)
async def submit_stream(
    request: Request,
    watch: Arrival,
    backend: BackendOf,
    services: Ready,
    caller: Authenticated,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Submit a project; the answer is its id as a first event, then its events until it completes."""
    key = requested_key(idempotency_key)
    job = await _accepted(request, watch, services, caller, key, backend.metrics)
    first = unnumbered_frame("job_id", {"type": "job_id", "job_id": job.id})
    return _events_of(job, services, caller, preamble=first)


@router.post(
    "/submit-async", status_code=202, response_model=Accepted, responses=_REFUSALS, openapi_extra=_FORM
)
async def submit_async(
    request: Request,
    watch: Arrival,
    backend: BackendOf,
    services: Ready,
    caller: Authenticated,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Submit a project; the answer is its job's id."""
    key = requested_key(idempotency_key)
    job = await _accepted(request, watch, services, caller, key, backend.metrics)
    answer = Accepted(job_id=job.id, status=job.status)
    return JSONResponse(answer.model_dump(mode="json"), status_code=202, headers=_headers(job))


def _events_of(job: Job, services: Services, caller: Caller, *, preamble: bytes) -> Response:
    stream = JobStream(services.streams, job, position=0, credential=caller.credential)
    return EventStreamResponse(stream, preamble=preamble, headers=_headers(job))


def _headers(job: Job) -> dict[str, str]:
    return {"X-Job-Id": job.id}


async def _accepted(
    request: Request,
    watch: Stopwatch,
    services: Services,
    caller: Caller,
    key: JobId | None,
    metrics: ReplicaMetrics,
) -> Job:
    """The job that this submission became, now or when it was first sent."""
    try:
        earlier = None if key is None else await _earlier(services, caller, key)
        if earlier is not None:
            await discard_body(request, services.settings)
            return earlier
        job, is_new = await _made(request, watch, services, caller, key or new_job_id())
    except CIError as error:
        metrics.refused(status_of(error))
        raise
    if is_new:
        metrics.accepted()
    return job


async def _earlier(services: Services, caller: Caller, job_id: JobId) -> Job | None:
    try:
        job = await services.jobs.get_job(job_id)
    except NotFound:
        return None
    if job.user_id != caller.user.id:
        raise AlreadyExists("this Idempotency-Key belongs to another user's job; use a fresh UUID")
    return job


async def _made(
    request: Request, watch: Stopwatch, services: Services, caller: Caller, job_id: JobId
) -> tuple[Job, bool]:
    async with received_upload(request, services.receiver, caller.user.id, watch) as upload:
        submission = Submission(
            job_id=job_id,
            user_id=caller.user.id,
            key_id=caller.key.id,
            options=upload.options,
            bundle_bytes=upload.bundle_bytes,
            submit_time=utc_now(),
        )
        return await _stored(services, submission, upload, watch.times)


async def _stored(
    services: Services, submission: Submission, upload: Upload, times: JobTimes
) -> tuple[Job, bool]:
    try:
        publish = partial(upload.bundle.publish, submission.job_id)
        job, is_new = await services.jobs.submit(submission, publish, times)
    except StorageFull as error:
        # The upload itself found room: it is the database that takes nothing more at present.
        raise NotReady(str(error)) from error
    if is_new and upload.contents is not None:
        await run_blocking(partial(services.contents.keep, submission.user_id, job.id, upload.contents))
    return job, is_new
