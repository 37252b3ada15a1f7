"""What routes ask for: the services, and the caller, who is known before any body is read.

All of it is `async`, also what awaits nothing: anything else FastAPI would send through a thread.
"""

from typing import Annotated

from fastapi import Depends, Request

from ci_common.errors import InvalidInput, NotFound
from ci_common.ids import JobId, parse_job_id, parse_job_prefix
from ci_common.job_times import Milestone, Stopwatch
from ci_common.models import Job, User
from ci_common.repository import JobRepository
from ci_server.auth import Caller
from ci_server.backend import Backend, Services
from ci_server.errors import Ambiguous


async def arrival() -> Stopwatch:
    """Begins when a route's first parameter is asked for: nothing of the body is there yet."""
    watch = Stopwatch()
    watch.mark(Milestone.RECEIVED)
    return watch


Arrival = Annotated[Stopwatch, Depends(arrival)]


async def the_backend(request: Request) -> Backend:
    """The application's backend, whether it is ready or not."""
    backend = request.app.state.backend
    assert isinstance(backend, Backend)
    return backend


BackendOf = Annotated[Backend, Depends(the_backend)]


async def ready_services(backend: BackendOf) -> Services:
    """The services; raises NotReady while there are none."""
    return backend.services


Ready = Annotated[Services, Depends(ready_services)]


async def authenticated(request: Request, services: Ready) -> Caller:
    """The caller; raises NotPermitted where the request's key proves none."""
    return await services.authenticator.authenticate(request.headers.get("authorization"))


Authenticated = Annotated[Caller, Depends(authenticated)]


async def job_of(jobs: JobRepository, user: User, text: str) -> Job:
    """The user's job whose id is `text`, or begins with it.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Ambiguous: several begin so.
    """
    try:
        prefix = parse_job_prefix(text)
    except InvalidInput as error:
        raise NotFound(f"no such job: {error}") from None
    found = await jobs.find_jobs(user.id, prefix)
    if not found:
        raise NotFound(f"no such job: {prefix}")
    if len(found) > 1:
        raise Ambiguous(f"several jobs begin with {prefix}; give more of the id")
    return found[0]


async def requested_job(job_id: str, caller: Authenticated, services: Ready) -> Job:
    """The job that the path names."""
    return await job_of(services.jobs, caller.user, job_id)


RequestedJob = Annotated[Job, Depends(requested_job)]


def requested_key(text: str | None) -> JobId | None:
    """The job id that an `Idempotency-Key` asks for.

    Raises:
        InvalidInput: it is no UUID.
    """
    if text is None:
        return None
    try:
        return parse_job_id(text)
    except InvalidInput:
        raise InvalidInput("Idempotency-Key must be a UUID") from None
