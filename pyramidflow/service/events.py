"""Server-sent events: parts and samples as they come."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, HTTPException, Query
from fastapi.responses import StreamingResponse

from pyramidflow.service.context import UNREAD, Context, Given, reader

LISTENERS: Final = 64
_SECONDS_BETWEEN_LOOKS: Final = 0.25
_LOOKS_BETWEEN_SIGNS_OF_LIFE: Final = 60
_PARTS_AT_ONCE: Final = 12

router = APIRouter(dependencies=[Depends(reader)])


@router.get(
    "/api/events",
    summary="Parts and samples as they come",
    response_class=StreamingResponse,
    responses={
        **UNREAD,
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        503: {"description": "Too many listen already: see Retry-After."},
    },
)
async def events(
    context: Given,
    after: Annotated[int, Query(ge=0, description="Number of an event that is known.")] = 0,
    last_event_id: Annotated[str, Header(max_length=20)] = "",
) -> StreamingResponse:
    """A stream that does not end; each event's data is a JSON object."""
    if context.watch.listeners >= LISTENERS:
        raise HTTPException(503, "too many listen already.", {"Retry-After": "10"})
    known = int(last_event_id) if last_event_id.isdecimal() else after
    return StreamingResponse(_stream(context, known), media_type="text/event-stream")


async def _stream(context: Context, known: int) -> AsyncIterator[str]:
    context.watch.listeners += 1  # by the thread of the event loop alone
    try:
        if known > context.watch.last_event:
            known = 0  # of an earlier run
        yield "retry: 2000\n\n"
        quiet = 0
        while not context.watch.is_over:
            found = context.watch.since(known)
            # Of many parts at once a person sees the last ones.
            parts = [event.number for event in found if event.kind == "part"]
            skipped = set(parts[:-_PARTS_AT_ONCE])
            for event in found:
                known = event.number
                if event.number not in skipped:
                    data = json.dumps(event.content, allow_nan=False)
                    yield f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"
            quiet = 0 if found else quiet + 1
            if quiet >= _LOOKS_BETWEEN_SIGNS_OF_LIFE:
                quiet = 0
                yield ": still here\n\n"
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        context.watch.listeners -= 1
