"""Counts by shift, for the page and for programs."""

from dataclasses import asdict
from itertools import islice
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Response

from pyramidflow.line.frame import now
from pyramidflow.line.history.periods import Periods, parsed_shifts, zone_of
from pyramidflow.line.history.search import counts_between
from pyramidflow.service.api import BUSY, REFUSED, Station
from pyramidflow.service.context import Context, Given, Json, reader, scanning

MOST_SHIFTS: Final = 100
USUAL: Final = 21
"""A week of three shifts."""

_COUNTED: Final = ("ok", "review", "ng", "errors", "dropped", "late")

router = APIRouter(prefix="/api", dependencies=[Depends(reader)], responses=REFUSED)


@router.get("/shifts", summary="Counts of the last shifts", responses=BUSY)
def shifts(
    context: Given,
    station: Station,
    most: Annotated[int, Query(ge=1, le=MOST_SHIFTS, description="How many shifts.")] = USUAL,
) -> Response:
    """Each with ``start`` and ``end`` by the line's clock, the newest first; it is not over yet."""
    context.check_station(station)
    settings = context.line.settings
    found = Periods("shift", zone_of(settings.timezone), parsed_shifts(",".join(settings.shifts)))
    with scanning():
        counted = [_counted(context, station, *span) for span in islice(found.until(now()), most)]
    return Json({"timezone": settings.timezone, "shifts": counted})


def _counted(context: Context, station: str, start: Any, end: Any) -> dict[str, Any]:
    counts = counts_between(context.store, station, start, end)
    known = {name: value for name, value in asdict(counts).items() if name in _COUNTED}
    return {
        "start": start.isoformat(timespec="minutes"),
        "end": end.isoformat(timespec="minutes"),
        **known,
        "ng_share": counts.ng / counts.inspected if counts.inspected else None,
    }
