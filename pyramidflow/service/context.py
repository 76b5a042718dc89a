"""What the routes of one service share.

What every request depends on is asynchronous: a thread for it would wait for the interpreter, which
the line uses at the same time, longer than the work takes.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Lock
from time import monotonic
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.history.store import Store
from pyramidflow.line.line import Line
from pyramidflow.line.record import Record
from pyramidflow.service.access import Access
from pyramidflow.service.limits import Rate
from pyramidflow.service.metrics import Metrics
from pyramidflow.service.watch import Watch

log = logging.getLogger(__name__)

_STATUS_SECONDS: Final = 1.0

UNREAD: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "The token is missing or wrong."},
    429: {"description": "Too many requests, or wrong tokens."},
}
"""Answers to who may not read, or asks too often."""

_SCANS_AT_ONCE: Final = 2
_SECONDS_TO_SCAN: Final = 3.0
_scans = BoundedSemaphore(_SCANS_AT_ONCE)


class Looked:
    """The viewer of a line: what it sees goes to the page and to the metrics."""

    def __init__(self, watch: Watch, metrics: Metrics) -> None:
        self._metrics = metrics
        self.look = watch.look
        self._shown = watch.shown

    def shown(self, record: Record, pictures: Mapping[str, bytes]) -> None:
        """Pass a record on."""
        self._shown(record, pictures)
        self._metrics.add(record)


class Status:
    """The line's status, asked for at most once a second: it counts what waits in the store."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lock = Lock()
        self._taken: dict[str, Any] = {}
        self._until = 0.0

    def __call__(self) -> dict[str, Any]:
        """The status, at most so old."""
        with self._lock:
            if monotonic() >= self._until:
                self._taken = self._line.status()
                self._until = monotonic() + _STATUS_SECONDS
            return self._taken


@dataclass(frozen=True)
class Context:
    """A line and what stands around it.

    Attributes:
        line: that runs.
        store: its history.
        watch: its last parts.
        metrics: of it.
        status: of it.
        access: who may do what.
        failures: rate of wrong tokens.
        folders: of the sinks that keep pictures.
    """

    line: Line
    store: Store
    watch: Watch
    metrics: Metrics
    status: Status
    access: Access
    failures: Rate
    folders: tuple[Path, ...] = ()

    @property
    def stations(self) -> list[str]:
        """Names."""
        return [station.name for station in self.line.settings.stations]

    def check_station(self, name: str) -> str:
        """Refuse a station that is none.

        Raises:
            HTTPException: 404.
        """
        if name not in self.stations:
            raise HTTPException(404, "there is no such station.")
        return name

    def check_ready(self, station: str) -> None:
        """Refuse what a station can only do once its detector is ready.

        Raises:
            HTTPException: 503, with the time after which to ask again.
        """
        if station in self.line.preparing:
            raise HTTPException(
                503,
                f"{station} is preparing: its detector is made ready to inspect; ask again later.",
                {"Retry-After": "2"},
            )


class Json(JSONResponse):
    """JSON in ASCII: file names may hold bytes that are no text."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


async def context_of(request: Request) -> Context:
    """The context of the service that a request came to."""
    found: Context = request.app.state.context
    return found


_bearer = HTTPBearer(auto_error=False, description="The service's token.")


def seconds_to_wait(request: Request, is_right: bool, context: Context) -> float:
    """Count a wrong token, and say how long its sender has to wait.

    After too many wrong ones the right one has to wait, too: the first answer that is another would
    tell which one it is, and a guesser would not be held up at all.

    Args:
        request: that came with a token.
        is_right: whether it is the one.
        context: that counts.

    Returns:
        Seconds; 0 where the answer may depend on the token.
    """
    asker = context.access.asker(request)
    if is_right:
        return context.failures.wait(asker)
    wait = context.failures.take(asker)
    if not wait:
        log.warning("a wrong token came from %s", printable(asker))
    return wait


def too_many(wait: float) -> HTTPException:
    """The answer to who has to wait after wrong tokens."""
    after = {"Retry-After": str(int(wait) + 1)}
    return HTTPException(429, "too many wrong tokens: try again later.", after)


def may_read(request: Request, context: Context) -> bool:
    """Whether a request may see what the line did; a wrong token counts.

    Raises:
        HTTPException: 429.
    """
    may = context.access.may_read(request)
    _count(request, may, context)
    return may


def _count(request: Request, may: bool, context: Context) -> None:
    if context.access.bearer(request) is not None:
        wait = seconds_to_wait(request, may, context)
        if wait:
            raise too_many(wait)


def _check(request: Request, may: bool, context: Context) -> None:
    _count(request, may, context)
    if not may:
        raise HTTPException(
            401, "this needs the token: sign in, or send it.", {"WWW-Authenticate": "Bearer"}
        )


async def reader(
    request: Request, _: Annotated[object, Depends(_bearer)], context: "Given"
) -> None:
    """Refuse who may not read.

    Raises:
        HTTPException: 401, 429.
    """
    _check(request, context.access.may_read(request), context)


async def changer(
    request: Request, _: Annotated[object, Depends(_bearer)], context: "Given"
) -> None:
    """Refuse who may not change anything.

    Raises:
        HTTPException: 401, 403, 429.
    """
    if not context.access.has_token:
        raise HTTPException(403, "nothing can be changed: the service was started without a token.")
    _check(request, context.access.may_change(request), context)


Given = Annotated[Context, Depends(context_of)]


@contextmanager
def refusals(status: int) -> Iterator[None]:
    """Answer what the line refuses with a status and its sentence."""
    try:
        yield
    except InputError as error:
        raise HTTPException(status, str(error)) from error


@contextmanager
def scanning() -> Iterator[None]:
    """Look through much of the history, with few others: the line works on the same processors.

    Raises:
        HTTPException: 503, with the time after which there may be room.
    """
    if not _scans.acquire(timeout=_SECONDS_TO_SCAN):
        raise HTTPException(503, "many search the history: ask again.", {"Retry-After": "3"})
    try:
        yield
    finally:
        _scans.release()
