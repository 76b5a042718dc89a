"""``POST /inspect``: a picture in, its record out, by the line's own pipeline."""

import asyncio
import base64
import json
from concurrent.futures import Future
from threading import BoundedSemaphore
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from pyramidflow.errors import (
    IdentityWaitsError,
    InputError,
    LineStoppedError,
    StationEndedError,
)
from pyramidflow.line.history.search import part_of
from pyramidflow.line.record import Record
from pyramidflow.line.sources.python import made_identity
from pyramidflow.service.api import as_json
from pyramidflow.service.context import Context, Given, Json, changer
from pyramidflow.service.protection import INSPECT

UPLOADS_AT_ONCE: Final = 16
"""Each holds a picture's file in memory while it waits."""

_SECONDS_TO_INSPECT: Final = 60.0

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The record, also where the identity had one before."},
    400: {"description": "There is no picture, or the station takes none."},
    401: {"description": "The token is missing or wrong."},
    403: {"description": "The service was started without a token."},
    408: {"description": "The picture did not come in time."},
    409: {"description": "A picture with this identity is being inspected."},
    413: {"description": "The picture is too large."},
    422: {"description": "The picture cannot be read; its record says why."},
    429: {"description": "Too many requests."},
    503: {
        "description": "The line is full or stopped, or the station prepares: see Retry-After. "
        "Without it, the station has ended."
    },
}

router = APIRouter(dependencies=[Depends(changer)])
_uploads = BoundedSemaphore(UPLOADS_AT_ONCE)


@router.post(INSPECT, summary="Inspect a picture", openapi_extra=_BODY, responses=_ANSWERS)
async def inspect(
    request: Request,
    context: Given,
    station: Annotated[
        str | None, Query(max_length=64, description="With the source python; the only one.")
    ] = None,
    identity: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=200,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            description="Of the part's picture, unique for ever; a new one where it is left out.",
        ),
    ] = None,
    heat_map: Annotated[
        bool, Query(description="With heat_map: a PNG in base64, where there is an inspection.")
    ] = False,
) -> Response:
    """The body is an image file as it is, not a form.

    The answer comes once the record is durable. A picture that cannot be read has a record, too.
    """
    name = _station(context, station)
    context.check_ready(name)
    known = identity or made_identity()
    if not _uploads.acquire(blocking=False):
        raise _full()
    try:
        asked = await _put(request, context, name, known, heat_map)
        record = await _result(asked)
    finally:
        _uploads.release()
    if record is None:
        return await run_in_threadpool(_earlier, context, name, known)
    status = 200 if record.verdict is not None else _status_of(record)
    picture = context.watch.picture(name, known, "overlay") if heat_map else None
    if picture is None:
        return Json(record.as_dict(), status)
    body = await run_in_threadpool(_with_heat_map, record, picture)
    return Response(body, status, media_type="application/json")


async def _put(
    request: Request, context: Context, station: str, identity: str, heat_map: bool
) -> "Future[Record | None]":
    body = await request.body()
    if not body:
        raise HTTPException(400, "there is no picture: send an image file as the body.")
    if heat_map:
        context.watch.ask_for_heat_map(station, identity)
    try:
        return context.line.put(body, identity, station=station, timeout=0)
    except TimeoutError as error:
        raise _full() from error
    except InputError as error:
        raise _refused(error) from error


def _with_heat_map(record: Record, picture: bytes) -> bytes:
    """The record's JSON with a picture; base64 needs no look for what JSON escapes."""
    text = json.dumps(record.as_dict(), allow_nan=False, separators=(",", ":")).encode()
    return b'%s,"heat_map":"%s"}' % (text[:-1], base64.b64encode(picture))


async def _result(asked: "Future[Record | None]") -> Record | None:
    try:
        # The part goes on where the one who asked does not wait.
        waiting = asyncio.shield(asyncio.wrap_future(asked))
        return await asyncio.wait_for(waiting, _SECONDS_TO_INSPECT)
    except asyncio.TimeoutError as error:
        raise _full() from error
    except InputError as error:
        raise _refused(error) from error
    except asyncio.CancelledError as error:
        if asked.cancelled():
            stopped = LineStoppedError("the line is stopped: send the picture again later.")
            raise _refused(stopped) from error
        raise


def _station(context: Context, wanted: str | None) -> str:
    takes = [x.name for x in context.line.settings.stations if x.source.kind == "python"]
    if wanted is None and len(takes) == 1:
        return takes[0]
    if wanted is None or wanted not in takes:
        raise HTTPException(
            400, 'name a station that takes pictures: one whose source has the kind "python".'
        )
    return wanted


def _refused(error: InputError) -> HTTPException:
    """What the line says of a picture that it does not take, as an answer."""
    if isinstance(error, LineStoppedError):
        return HTTPException(503, str(error), {"Retry-After": "5"})
    if isinstance(error, StationEndedError):
        return HTTPException(503, str(error))
    return HTTPException(409 if isinstance(error, IdentityWaitsError) else 400, str(error))


def _full() -> HTTPException:
    return HTTPException(
        503, "the line is full: send the picture again later.", {"Retry-After": "1"}
    )


def _status_of(record: Record) -> int:
    return 503 if record.dropped else 422


def _earlier(context: Context, station: str, identity: str) -> Response:
    found = part_of(context.store, station, identity)
    if found is None:
        raise HTTPException(409, "this identity had a record, which is no longer in the history.")
    return Json(as_json(found))
