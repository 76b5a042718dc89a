"""The pages, for people."""

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.history.search import Found, Search, newest, part_of, said_of
from pyramidflow.line.history.store import HistoryPart
from pyramidflow.service.context import Context, Given, may_read

FOLDER: Final = Path(__file__).with_name("templates")

_ON_A_PAGE: Final = 50
_FILTERS: Final = ("station", "found", "mark", "late", "text", "since", "until", "before")

router = APIRouter(include_in_schema=False)


@router.get("/")
def live(request: Request, context: Given) -> Response:
    """The line as it goes."""
    return _page(request, context, "live.html", title="Live")


@router.get("/thresholds")
def thresholds(request: Request, context: Given) -> Response:
    """Scores, and what other thresholds would have said."""
    return _page(request, context, "thresholds.html", title="Thresholds")


@router.get("/shifts")
def shifts(request: Request, context: Given) -> Response:
    """Counts by shift."""
    return _page(request, context, "shifts.html", title="Shifts")


@router.get("/sign-in")
def sign_in(request: Request, context: Given) -> Response:
    """The place to show the token."""
    return _answer("sign-in.html", **_known(request, context), title="Sign in")


@router.get("/history")
def history(request: Request, context: Given) -> Response:
    """Parts by filters."""
    if not may_read(request, context):
        return _to_sign_in(request)
    given = {name: request.query_params.get(name, "") for name in _FILTERS}
    problem, rows = None, []
    try:
        rows = newest(context.store, search_of(given), _ON_A_PAGE + 1)
    except InputError as error:
        problem = str(error)
    for name in ("since", "until"):
        given[name] = _for_the_field(given[name])
    older = None
    if len(rows) > _ON_A_PAGE:
        rows = rows[:_ON_A_PAGE]
        older = "?" + urlencode({**_filled(given), "before": rows[-1].number})
    return _page(
        request,
        context,
        "history.html",
        422 if problem else 200,
        title="History",
        rows=[_row(row) for row in rows],
        given=given,
        older=older,
        newest="?" + urlencode({k: v for k, v in _filled(given).items() if k != "before"}),
        outcomes=get_args(Found),
        problem=problem,
    )


@router.get("/part")
def part(request: Request, context: Given) -> Response:
    """One part."""
    if not may_read(request, context):
        return _to_sign_in(request)
    station = request.query_params.get("station", "")
    identity = request.query_params.get("identity", "")
    found = part_of(context.store, station, identity)
    if found is None:
        return _page(request, context, "missing.html", 404, title="No such part")
    said = said_of(context.store, station, identity)
    return _page(request, context, "part.html", title=identity, part=_row(found), said=said)


def search_of(given: dict[str, str]) -> Search:
    """What a person asks for in the form of the history.

    Raises:
        InputError: a value is none that the form offers.
    """
    found, mark, before = given["found"], given["mark"], given["before"]
    if found not in ("", *get_args(Found)):
        raise InputError("the verdict is none of those in the list: choose one.")
    if mark not in ("", "good", "bad", "none"):
        raise InputError("the mark is none of those in the list: choose one.")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise InputError("the page is none: go back to the newest parts.")
    wanted: dict[str, Any] = {"found": found or None, "mark": mark or None}
    return Search(
        station=given["station"] or None,
        late=bool(given["late"]),
        text=given["text"][:200],
        since=_moment(given["since"]),
        until=_moment(given["until"]),
        before=int(before) if before else None,
        **wanted,
    )


def _moment(text: str) -> datetime | None:
    """A moment by this machine's clock."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise InputError("the time cannot be read: write it as 2026-03-01T06:00.") from error


def _for_the_field(text: str) -> str:
    """A moment as the field of a form takes it: by this machine's clock, without an offset."""
    try:
        found = _moment(text)
    except InputError:
        return text
    return "" if found is None else found.strftime("%Y-%m-%dT%H:%M")


def _filled(given: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}


def _row(found: HistoryPart) -> dict[str, Any]:
    record = found.record
    place = {"station": record["station"], "identity": record["identity"]}
    taken = None if record["time"] is None else datetime.fromisoformat(record["time"])
    regions = record.get("regions") or []
    return {
        **record,
        "number": found.number,
        "good": found.good,
        "query": urlencode(place, errors="backslashreplace"),
        "taken": "" if taken is None else f"{taken.astimezone():%Y-%m-%d %H:%M:%S}",
        "outcome": record["verdict"] or ("dropped" if record["dropped"] else "error"),
        "largest": regions[0] if regions else None,
    }


def _page(
    request: Request, context: Context, name: str, status: int = 200, **values: Any
) -> Response:
    if not may_read(request, context):
        return _to_sign_in(request)
    return _answer(name, status, **_known(request, context), **values)


def _known(request: Request, context: Context) -> dict[str, Any]:
    access = context.access
    can = "sign-in" if access.has_token else "never"
    if access.is_in_session(request):
        can = "now"
    return {
        "path": request.url.path,
        "stations": context.stations,
        "can_change": can,
        "next": _own_place(request),
    }


def _own_place(request: Request) -> str:
    """Where to go on after signing in: a page of this service."""
    wanted = request.query_params.get("next", "")
    if request.url.path != "/sign-in":
        query = f"?{request.url.query}" if request.url.query else ""
        wanted = f"{request.url.path}{query}"
    is_own = wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable()
    return wanted if is_own else "/"


def _to_sign_in(request: Request) -> Response:
    return RedirectResponse(f"/sign-in?{urlencode({'next': _own_place(request)})}", 303)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["printable"] = printable
    made.filters["short"] = lambda number: "" if number is None else f"{number:.4g}"
    made.filters["in_url"] = lambda text: urlencode({"next": text})
    return made


def _answer(name: str, status: int = 200, **values: Any) -> Response:
    text = _environment().get_template(name).render(values)
    body = text.encode(errors="backslashreplace")
    return Response(body, status, media_type="text/html; charset=utf-8")
