"""Puts the application together; nothing is opened before it is started."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ci_server.backend import Backend
from ci_server.errors import install_error_handlers
from ci_server.lingering_close import LingeringClose
from ci_server.routes import contents, jobs, service, submit
from ci_server.settings import ServerSettings
from ci_server.storage import StorageOpener


def create_app(settings: ServerSettings, open_storage: StorageOpener, retry_seconds: float = 1.0) -> FastAPI:
    """One replica. Everything but the health checks and figures asks for a key, the OpenAPI document
    included. Storage that can't be opened is tried again every `retry_seconds`."""
    backend = Backend(settings, open_storage, retry_seconds)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        async with backend.running():
            yield

    app = FastAPI(
        title="ci-platform",
        version=version("ci-platform"),
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.backend = backend
    install_error_handlers(app)
    app.add_exception_handler(ClientDisconnect, _on_client_disconnect)
    app.add_middleware(LingeringClose)
    for router in (submit.router, contents.router, jobs.router, service.router):
        app.include_router(router)
    return app


def _on_client_disconnect(_request: Request, _error: Exception) -> Response:
    # Nobody is there to read it; the status is for logs and tests.
    return Response(status_code=499)
