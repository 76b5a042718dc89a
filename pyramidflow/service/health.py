"""Whether the service lives, whether the line works, and its metrics."""

from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from pyramidflow.service.context import UNREAD, Context, Given, Json, may_read, reader
from pyramidflow.service.metrics import CONTENT_TYPE

router = APIRouter()


@router.get("/health", summary="Whether the service lives")
def health() -> Response:
    """Always 200 while it answers."""
    return Json({"status": "ok"})


@router.get(
    "/ready",
    summary="Whether the line works",
    responses={
        503: {"description": "A station prepares its detector or ended, or no record can be kept."}
    },
)
def ready(request: Request, context: Given) -> Response:
    """200 where every station can inspect and records can be kept; who may read sees what is not.

    ``preparing`` names the stations whose detector is made ready, ``ended`` those that ended before
    their time.
    """
    preparing = context.line.preparing
    status = context.status()
    ended = sorted(name for name, state in status["stations"].items() if state["failure"])
    is_full = bool(status["outbox"].get("is_full", False))
    content: dict[str, Any] = {"ready": not preparing and not ended and not is_full}
    if _may_see(request, context):
        content |= {"preparing": preparing, "ended": ended, "store_full": is_full}
    return Json(content, 200 if content["ready"] else 503)


def _may_see(request: Request, context: Context) -> bool:
    """Whether who asks may read; after too many wrong tokens nobody may, and is told no more."""
    try:
        return may_read(request, context)
    except HTTPException:
        return False


@router.get("/openapi.json", dependencies=[Depends(reader)], include_in_schema=False)
def described(request: Request) -> Response:
    """The OpenAPI document; it says which version runs here."""
    return Json(request.app.openapi())


@router.get(
    "/metrics",
    dependencies=[Depends(reader)],
    summary="For Prometheus",
    response_class=Response,
    responses={
        **UNREAD,
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
def metrics(context: Given) -> Response:
    """Parts, durations, what waits, thresholds."""
    return Response(context.metrics.text(), media_type=CONTENT_TYPE)
