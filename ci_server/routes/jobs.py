"""A user's jobs: list, look, follow, read, cancel. Another user's job doesn't exist here."""

import json
from collections.abc import AsyncGenerator
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from ci_common.models import EventType, Job, JobEvent, JobStatus, Phase, Reason
from ci_common.repository import JobRepository
from ci_server.dependencies import Authenticated, Ready, RequestedJob, job_of
from ci_server.schemas import JobView, Problem, TimedJobView
from ci_server.streaming import EventStreamResponse, JobStream, start_of_stream

_MAX_PAGE = 1000
_PROBLEMS: dict[int | str, dict[str, object]] = {
    status: {"model": Problem} for status in (401, 404, 409, 422, 503)
}
_STREAM: dict[int | str, dict[str, object]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
    **_PROBLEMS,
}
_TEXT: dict[int | str, dict[str, object]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    **_PROBLEMS,
}

router = APIRouter(prefix="/jobs", tags=["jobs"])


class LogPhase(StrEnum):
    """Which part of the output is wanted."""

    TEST = "test"
    INSTALL = "install"
    ALL = "all"


@router.get("", responses=_PROBLEMS)
async def list_jobs(
    *,
    response: Response,
    services: Ready,
    caller: Authenticated,
    limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 100,
    before: Annotated[str | None, Query(description="Go on behind this job.")] = None,
    status: JobStatus | None = None,
) -> list[JobView]:
    """The caller's jobs, newest first; a `Link` header leads to the next page where there is one."""
    start = None if before is None else (await job_of(services.jobs, caller.user, before)).id
    found = await services.jobs.list_jobs(caller.user.id, limit + 1, before=start, status=status)
    page = found[:limit]
    if len(found) > limit:
        query = {"limit": str(limit), "before": page[-1].id, **({} if status is None else {"status": status})}
        response.headers["Link"] = f'<?{urlencode(query)}>; rel="next"'
    return [JobView.of(job) for job in page]


@router.get("/{job_id}", responses=_PROBLEMS)
async def get_job(
    *,
    job: RequestedJob,
    services: Ready,
    timing: Annotated[bool, Query(description="Tell when each phase began and ended.")] = False,
) -> TimedJobView | JobView:
    """One job, by its id or a beginning of it that no other job of the caller has."""
    if not timing:
        return JobView.of(job)
    return TimedJobView.timed(job, await services.jobs.job_times(job.id))


@router.post("/{job_id}/cancel", responses=_PROBLEMS)
async def cancel_job(job: RequestedJob, services: Ready) -> JobView:
    """Stop a job; one that has completed stays as it is."""
    return JobView.of(await services.jobs.request_cancel(job.id, Reason.CANCELLED_BY_USER))


@router.get("/{job_id}/stream", response_class=Response, responses=_STREAM)
async def stream_job(
    *,
    job: RequestedJob,
    services: Ready,
    caller: Authenticated,
    after: Annotated[int, Query(ge=0, description="Number of the last event already known.")] = 0,
    from_beginning: Annotated[bool, Query(description="False begins at the present end.")] = True,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
) -> Response:
    """The events of a job, past and to come, until it completes."""
    position = start_of_stream(job, last_event_id, after, from_beginning=from_beginning)
    stream = JobStream(services.streams, job, position, caller.credential)
    return EventStreamResponse(stream)


@router.get("/{job_id}/logs", response_class=Response, responses=_TEXT)
async def job_logs(job: RequestedJob, services: Ready, phase: LogPhase = LogPhase.TEST) -> Response:
    """The output so far as plain text: the tests' own, unless another phase is asked for."""
    wanted = frozenset(Phase) if phase is LogPhase.ALL else frozenset({Phase(phase.value)})
    return StreamingResponse(
        _output(services.jobs, job, wanted), media_type="text/plain; charset=utf-8", headers=_AS_TEXT
    )


_AS_TEXT = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""The output is a stranger's: no browser may take it for a page."""


async def _output(jobs: JobRepository, job: Job, wanted: frozenset[Phase]) -> AsyncGenerator[bytes]:
    position = 0
    while position < job.last_seq:
        events = await jobs.events_after(job.id, position)
        if not events:
            return
        position = events[-1].seq
        text = "".join(log_text(event, wanted) for event in events if event.seq <= job.last_seq)
        if text:
            yield text.encode()


def log_text(event: JobEvent, wanted: frozenset[Phase]) -> str:
    """What an event adds to the output of the wanted phases."""
    if event.type is not EventType.LOG:
        return ""
    data = json.loads(event.json)
    return data["data"] if Phase(data["phase"]) in wanted else ""
