"""The service itself: is it alive, is it ready, its figures, and who the caller is."""

import asyncio
import logging
from importlib.metadata import version

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from ci_common.clock import utc_now
from ci_common.errors import CIError
from ci_server.backend import Backend
from ci_server.dependencies import Authenticated, BackendOf, Ready
from ci_server.errors import NotReady
from ci_server.metrics import installation_metrics, readiness_metric
from ci_server.schemas import HealthView, KeyView, LimitsView, MeView, Problem, UserView

_DATABASE_SECONDS = 5.0
_NOT_READY: dict[int | str, dict[str, object]] = {503: {"model": Problem}}
_PROBLEMS: dict[int | str, dict[str, object]] = {401: {"model": Problem}, 503: {"model": Problem}}

_log = logging.getLogger(__name__)

router = APIRouter(tags=["service"])


@router.get("/health")
@router.get("/healthz")
async def health() -> HealthView:
    """The process answers; says nothing of its database."""
    return HealthView(status="ok")


@router.head("/health", include_in_schema=False)
@router.head("/healthz", include_in_schema=False)
async def health_head() -> Response:
    """For those who ask so."""
    return Response()


@router.get("/readyz", responses=_NOT_READY)
async def readyz(backend: BackendOf) -> HealthView:
    """Whether this replica can serve: its database is there, of the right version, and answers."""
    await _look_at_database(backend)
    return HealthView(status="ready")


async def _look_at_database(backend: Backend) -> None:
    services = backend.services
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            await services.jobs.queue_counts()
    except TimeoutError:
        raise NotReady("the database doesn't answer") from None


@router.get("/metrics", response_class=Response)
async def metrics(backend: BackendOf) -> Response:
    """Figures for Prometheus."""
    parts = [backend.metrics.exposition()]
    try:
        services = backend.services
        async with asyncio.timeout(_DATABASE_SECONDS):
            parts.append(await installation_metrics(services.jobs, services.streams.controller))
        parts.append(readiness_metric(is_ready=True))
    except (CIError, TimeoutError) as error:
        _log.warning("the database gives no figures: %s", error)
        parts.append(readiness_metric(is_ready=False))
    return Response(b"".join(parts), media_type=CONTENT_TYPE_LATEST)


@router.get("/me", responses=_PROBLEMS)
async def me(caller: Authenticated, services: Ready) -> MeView:
    """The caller, its key, this server's version and limits."""
    settings = services.settings
    return MeView(
        user=UserView(id=caller.user.id, name=caller.user.name, email=caller.user.email),
        key=KeyView(
            id=caller.key.id,
            name=caller.key.name,
            prefix=caller.key.prefix,
            expires_at=caller.key.expires_at,
        ),
        server_version=version("ci-platform"),
        server_time=utc_now(),
        limits=LimitsView(
            max_upload_bytes=settings.max_upload_bytes,
            max_unpacked_bytes=settings.max_unpacked_bytes,
            max_bundle_entries=settings.max_bundle_entries,
        ),
    )


@router.get("/openapi.json", include_in_schema=False)
async def openapi_document(request: Request, _caller: Authenticated) -> JSONResponse:
    """The description of this interface."""
    return JSONResponse(request.app.openapi())
