"""The history, its marks and the thresholds, as JSON."""

import logging
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from pyramidflow.io.names import printable
from pyramidflow.line.history.search import (
    MOST_AT_ONCE,
    Found,
    Scored,
    Search,
    newest,
    part_of,
    said_of,
    scores,
)
from pyramidflow.line.history.store import HistoryPart
from pyramidflow.service.context import (
    UNREAD,
    Context,
    Given,
    Json,
    changer,
    reader,
    refusals,
    scanning,
)
from pyramidflow.service.kept_pictures import kept_picture
from pyramidflow.service.whatif import LOOKED_AT, histogram, judged_again

log = logging.getLogger(__name__)

Station = Annotated[str, Query(max_length=64, description="Name of a station.")]
Identity = Annotated[str, Query(max_length=1000, description="Identity of a part.")]
Threshold = Annotated[float, Query(ge=0, allow_inf_nan=False)]

REFUSED: dict[int | str, dict[str, Any]] = {
    400: {"description": "The values do not fit together, or the body is no JSON."},
    **UNREAD,
    404: {"description": "There is no such part, station or picture."},
}
_REFUSED_CHANGE: dict[int | str, dict[str, Any]] = {
    **REFUSED,
    403: {"description": "The service was started without a token."},
    413: {"description": "The request is too large."},
}

BUSY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Many search the history: see Retry-After."}
}

reading = APIRouter(prefix="/api", dependencies=[Depends(reader)], responses=REFUSED)
changing = APIRouter(prefix="/api", dependencies=[Depends(changer)], responses=_REFUSED_CHANGE)


class Mark(BaseModel):
    """What a person says of a part."""

    model_config = ConfigDict(extra="forbid")

    station: str = Field(max_length=64)
    identity: str = Field(max_length=1000)
    good: bool = Field(description="Whether the part was good.")
    who: str = Field(min_length=1, max_length=64, description="Says so.")
    note: str = Field("", max_length=1000)


class Moved(BaseModel):
    """New thresholds of a station."""

    model_config = ConfigDict(extra="forbid")

    station: str = Field(max_length=64)
    threshold: float = Field(ge=0, allow_inf_nan=False, description="Largest score not ng.")
    review_threshold: float = Field(ge=0, allow_inf_nan=False, description="Largest score ok.")
    who: str = Field(min_length=1, max_length=64, description="Moves them.")


@reading.get("/status", summary="Stations, counts, what waits")
def status(context: Given) -> Response:
    """What :meth:`pyramidflow.line.Line.status` says."""
    return Json(context.status())


@reading.get("/now", summary="The last parts and ten minutes of samples")
def now(context: Given) -> Response:
    """What the page starts from; the number of its last event is where ``/api/events`` goes on."""
    return Json(context.watch.snapshot())


@reading.get("/parts", summary="Search the history, the newest first")
def parts(
    context: Given,
    station: Annotated[str | None, Query(max_length=64)] = None,
    found: Annotated[Found | None, Query(description="A verdict, or why there is none.")] = None,
    mark: Literal["good", "bad", "none"] | None = None,
    late: bool = False,
    text: Annotated[str, Query(max_length=200, description="In the identity.")] = "",
    since: datetime | None = None,
    until: datetime | None = None,
    before: Annotated[
        int | None, Query(ge=0, le=2**62, description="Row that the page before ended with.")
    ] = None,
    most: Annotated[int, Query(ge=1, le=MOST_AT_ONCE)] = 50,
) -> Response:
    """Records with ``marked_good`` and their row's number."""
    search = Search(station, found, mark, late, text, _aware(since), _aware(until), before)
    rows = newest(context.store, search, most)
    return Json({"parts": [as_json(part) for part in rows]})


@reading.get("/part", summary="One part, with all that people said of it")
def part(context: Given, station: Station, identity: Identity) -> Response:
    """A record with ``marked_good`` and ``said``."""
    found = part_of(context.store, station, identity)
    if found is None:
        raise HTTPException(404, "there is no such part.")
    said = [
        {"good": x.good, "who": x.who, "time": x.time.isoformat(), "note": x.note}
        for x in said_of(context.store, station, identity)
    ]
    return Json({**as_json(found), "said": said})


@reading.get(
    "/picture",
    summary="A picture of a part",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}}},
)
def picture(
    context: Given,
    station: Station,
    identity: Identity,
    kind: Literal["plain", "heat"] = "heat",
) -> Response:
    """As it is, or with its heat map: from memory while it is new, else as a sink kept it."""
    data = context.watch.picture(station, identity, kind)
    if data is not None:
        return Response(data, media_type="image/jpeg")
    found = kept_picture(context, station, identity, kind)
    if found is None:
        raise HTTPException(404, "this picture is not kept: see the sink pictures.")
    return FileResponse(found.path, media_type=found.media_type)


@reading.get(
    "/scores", summary="Histogram of a station's scores, and its thresholds", responses=BUSY
)
def score_histogram(context: Given, station: Station) -> Response:
    """Scores of the detector that works there now; thresholds are null while it prepares."""
    with scanning():
        looked_at = _scores(context, station)
    thresholds = context.line.thresholds[station]
    known = [value for value in thresholds.values() if value is not None]
    return Json({**thresholds, "parts": len(looked_at), **histogram(looked_at, known)})


@reading.get("/whatif", summary="What other thresholds would have said", responses=BUSY)
def whatif(
    context: Given, station: Station, threshold: Threshold, review_threshold: Threshold
) -> Response:
    """Counts before and after, and the parts that change."""
    if review_threshold > threshold:
        raise HTTPException(400, "the review threshold is above the threshold: lower it.")
    with scanning():
        return Json(judged_again(_scores(context, station), threshold, review_threshold))


@changing.post("/marks", status_code=201, summary="Say that a part was good, or bad")
def mark(context: Given, said: Mark) -> Response:
    """Every word is kept; the last one counts."""
    with refusals(404):
        context.store.mark(said.station, said.identity, said.good, said.who, said.note)
    content = said.model_dump()
    context.watch.say("mark", content)
    return Json(content, 201)


@changing.post(
    "/thresholds",
    summary="Move a station's thresholds",
    responses={503: {"description": "The station is preparing: see Retry-After."}},
)
def move(context: Given, moved: Moved) -> Response:
    """From the next part on, and after the next start."""
    context.check_station(moved.station)
    context.check_ready(moved.station)
    with refusals(400):
        said = context.line.move_thresholds(
            moved.station, moved.threshold, moved.review_threshold, printable(moved.who)
        )
    content = moved.model_dump()
    context.watch.say("thresholds", content)
    return Json({**content, "said": said})


def as_json(found: HistoryPart) -> dict[str, Any]:
    """A part of the history as a JSON object."""
    return {"number": found.number, **found.record, "marked_good": found.good}


def _scores(context: Context, station: str) -> list[Scored]:
    context.check_station(station)
    detector = context.status()["stations"][station]["detector"]
    return scores(context.store, station, detector, LOOKED_AT)


def _aware(moment: datetime | None) -> datetime | None:
    """A moment with an offset; without one this machine's clock is meant."""
    if moment is None:
        return None
    try:
        return moment.astimezone()
    except (OverflowError, ValueError, OSError) as error:
        raise HTTPException(400, "the time is out of range.") from error
