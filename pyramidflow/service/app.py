"""The application: routes, protection, and the context that they share."""

import logging
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from pyramidflow import __version__
from pyramidflow.io.names import printable
from pyramidflow.line.history.store import Store
from pyramidflow.line.line import Line
from pyramidflow.line.service_settings import ServiceSettings
from pyramidflow.service import (
    api,
    events,
    health,
    html,
    inspecting,
    packaged,
    sessions,
    shifts,
)
from pyramidflow.service.access import Access, is_loopback
from pyramidflow.service.context import Context, Json, Looked, Status
from pyramidflow.service.limits import Limits, Rate
from pyramidflow.service.metrics import Metrics
from pyramidflow.service.protection import Application, Protection
from pyramidflow.service.watch import Watch

log = logging.getLogger(__name__)

WRONG_TOKENS_PER_MINUTE = 10

_MOST_FAULTS = 5


def watched(line: Line) -> tuple[Watch, Metrics, Status]:
    """Let a line that has not started be looked at.

    Args:
        line: not started.

    Raises:
        InputError: it was started.
    """
    watch, status = Watch(), Status(line)
    metrics = Metrics(status, __version__)
    line.watch(Looked(watch, metrics))
    return watch, metrics, status


def made_context(
    line: Line,
    store: Store,
    seen: tuple[Watch, Metrics, Status],
    token: str | None,
    settings: ServiceSettings,
) -> Context:
    """What the routes share.

    Args:
        line: that runs.
        store: its history.
        seen: of :func:`watched`.
        token: that allows changes.
        settings: of the service.
    """
    is_open = is_loopback(settings.host) and settings.origin is None
    access = Access(token, is_open, f"pyramidflow-{settings.port}", settings.origin)
    watch, metrics, status = seen
    failures, folders = Rate(WRONG_TOKENS_PER_MINUTE), line.settings.picture_folders
    return Context(line, store, watch, metrics, status, access, failures, tuple(folders))


def made_app(context: Context) -> FastAPI:
    """The routes, without protection.

    Args:
        context: of the service.
    """
    app = FastAPI(
        title="PyramidFlow",
        version=__version__,
        description="A running line: its last parts, its history, thresholds and marks.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        default_response_class=Json,
    )
    app.state.context = context
    for router in (
        health.router,
        inspecting.router,
        events.router,
        api.reading,
        api.changing,
        shifts.router,
        sessions.router,
        packaged.router,
        html.router,
    ):
        app.include_router(router)
    app.add_exception_handler(RequestValidationError, _refused)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _failed)
    return app


def protected(app: FastAPI, settings: ServiceSettings) -> Application:
    """The application behind its protection.

    Args:
        app: the routes.
        settings: of the service.
    """
    proxied = urlsplit(settings.origin or "").hostname or "localhost"
    names = {"localhost", proxied, settings.host.lower(), *map(str.lower, settings.names)}
    limits = Limits(
        Rate(settings.requests_per_minute),
        Rate(settings.inspections_per_minute),
        settings.most_upload_bytes,
    )
    return Protection(app, frozenset(names), limits, settings.origin)


def _refused(request: Request, error: RequestValidationError) -> Response:
    """What is wrong with a request; what it held is not repeated."""
    faults: list[Any] = list(error.errors())[:_MOST_FAULTS]
    said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in faults)
    return Json({"detail": said}, 422)


def _failed(request: Request, error: Exception) -> Response:
    log.error("%s failed", printable(request.url.path), exc_info=error)
    # What lies below closes the connection then: who asks next on it is to know before.
    return Json({"detail": "the service failed: see its log."}, 500, {"connection": "close"})
