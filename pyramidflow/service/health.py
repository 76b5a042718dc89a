"""Whether the service lives, whether the line works, and its metrics."""

from fastapi import APIRouter, Depends, Response

from pyramidflow.service.context import Given, Json, reader
from pyramidflow.service.metrics import CONTENT_TYPE

router = APIRouter()


@router.get("/health", summary="Whether the service lives")
def health() -> Response:
    """Always 200 while it answers."""
    return Json({"status": "ok"})


@router.get(
    "/ready",
    summary="Whether the line works",
    responses={503: {"description": "A station ended, or no record can be kept."}},
)
def ready(context: Given) -> Response:
    """503 where a station ended before its time, or the store is full."""
    status = context.status()
    ended = sorted(name for name, state in status["stations"].items() if state["failure"])
    is_full = bool(status["outbox"].get("is_full", False))
    content = {"ready": not ended and not is_full, "ended": ended, "store_full": is_full}
    return Json(content, 200 if content["ready"] else 503)


@router.get(
    "/metrics",
    dependencies=[Depends(reader)],
    summary="For Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        401: {"description": "The token is missing or wrong."},
        429: {"description": "Too many requests."},
    },
)
def metrics(context: Given) -> Response:
    """Parts, durations, what waits, thresholds."""
    return Response(context.metrics.text(), media_type=CONTENT_TYPE)
