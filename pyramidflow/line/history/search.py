"""The history of a line as a person searches it: the newest first, a page at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from pyramidflow.line.counts import Counts
from pyramidflow.line.history.store import HistoryPart, Store

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

MOST_AT_ONCE: Final = 200
"""Parts on a page."""

Found = Literal["ok", "review", "ng", "error", "dropped"]
"""Verdicts, and what stands where there is none."""


@dataclass(frozen=True)
class Search:
    """Which parts; what is left out does not narrow them.

    Attributes:
        station: of this station only.
        found: with this verdict, or without one for this reason.
        mark: ``"good"`` or ``"bad"`` as a person said last, or ``"none"``.
        late: only those after their deadline.
        text: somewhere in the identity.
        since: taken at or after it.
        until: taken before it.
        before: a number of a row; only parts of smaller ones.
    """

    station: str | None = None
    found: Found | None = None
    mark: Literal["good", "bad", "none"] | None = None
    late: bool = False
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


class Said(NamedTuple):
    """What a person said of a part.

    Attributes:
        good: whether it was.
        who: said so.
        time: when.
        note: further words.
    """

    good: bool
    who: str
    time: datetime
    note: str | None


class Scored(NamedTuple):
    """A score of the history, with what became of it.

    Attributes:
        number: its row.
        identity: of the part.
        score: of it.
        verdict: that it got.
        is_placed: whether the part was found where parts lie.
        good: what a person said of it last; ``None`` where nobody did.
    """

    number: int
    identity: str
    score: float
    verdict: str
    is_placed: bool
    good: bool | None


def newest(store: Store, search: Search, most: int = MOST_AT_ONCE) -> list[HistoryPart]:
    """The newest parts that fit, the newest first.

    Args:
        store: the history.
        search: which parts.
        most: how many.
    """
    from sqlalchemy import select

    from pyramidflow.line.history.schema import parts

    good = _last_mark()
    query: Select[Any] = select(parts.c.id, parts.c.record, good)
    query = query.where(*_conditions(search, good)).order_by(parts.c.id.desc()).limit(most)
    with store.engine.connect() as connection:
        return [HistoryPart(*row) for row in connection.execute(query)]


def part_of(store: Store, station: str, identity: str) -> HistoryPart | None:
    """One part; ``None`` where there is none.

    Args:
        store: the history.
        station: of the part.
        identity: of the part.
    """
    from sqlalchemy import select

    from pyramidflow.line.history.schema import parts

    query = select(parts.c.id, parts.c.record, _last_mark()).where(
        parts.c.station == station, parts.c.identity == identity
    )
    with store.engine.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else HistoryPart(*row)


def said_of(store: Store, station: str, identity: str) -> list[Said]:
    """What people said of a part, the last word first.

    Args:
        store: the history.
        station: of the part.
        identity: of the part.
    """
    from sqlalchemy import select

    from pyramidflow.line.history.schema import marks

    query = (
        select(marks.c.good, marks.c.who, marks.c.time, marks.c.note)
        .where(marks.c.station == station, marks.c.identity == identity)
        .order_by(marks.c.id.desc())
        .limit(MOST_AT_ONCE)
    )
    with store.engine.connect() as connection:
        return [Said(*row) for row in connection.execute(query)]


def scores(store: Store, station: str, detector: str, most: int) -> list[Scored]:
    """The newest scores that a detector gave at a station, the newest first.

    Args:
        store: the history.
        station: its name.
        detector: digest of its file; scores of another one cannot be compared.
        most: how many.
    """
    from sqlalchemy import select

    from pyramidflow.line.history.schema import parts

    c = parts.c
    found = c.record["pose"]["found"].as_boolean()
    query = (
        select(c.id, c.identity, c.score, c.verdict, found, _last_mark())
        .where(c.station == station, c.detector == detector)
        .where(c.score.is_not(None), c.verdict.is_not(None))
        .order_by(c.id.desc())
        .limit(most)
    )
    with store.engine.connect() as connection:
        rows = connection.execute(query).all()
    return [Scored(n, i, s, v, placed is not False, good) for n, i, s, v, placed, good in rows]


def counts_between(store: Store, station: str, since: datetime, until: datetime) -> Counts:
    """How many parts of a station came to which end within a time; marks are not counted.

    The database counts, so that many parts cost the line's processors little.

    Args:
        store: the history.
        station: its name.
        since: taken at or after it.
        until: taken before it.
    """
    from sqlalchemy import func, select

    from pyramidflow.line.history.schema import parts

    c = parts.c
    query = (
        select(c.verdict, c.dropped, c.late, func.count())
        # Not by the index of stations and identities, which holds all the parts there ever were.
        .where(c.station.concat("") == station, c.time >= since, c.time < until)
        .group_by(c.verdict, c.dropped, c.late)
    )
    counts = Counts()
    with store.engine.connect() as connection:
        for verdict, dropped, late, number in connection.execute(query):
            outcome = verdict or ("dropped" if dropped else "errors")
            setattr(counts, outcome, getattr(counts, outcome) + number)
            counts.late += late * number
    return counts


def counted(parts: Iterable[Scored]) -> Mapping[str, int]:
    """How many parts have each verdict, and how many marks it contradicts.

    Args:
        parts: with their verdicts.

    Returns:
        ``ok``, ``review``, ``ng``; ``good_rejected``: called good, and ng; ``bad_passed``: called
        bad, and ok.
    """
    counts = {"ok": 0, "review": 0, "ng": 0, "good_rejected": 0, "bad_passed": 0}
    for part in parts:
        counts[part.verdict] += 1
        counts["good_rejected"] += part.verdict == "ng" and part.good is True
        counts["bad_passed"] += part.verdict == "ok" and part.good is False
    return counts


def _last_mark() -> "ColumnElement[bool]":
    """What was said last of a row's part."""
    from sqlalchemy import select

    from pyramidflow.line.history.schema import marks, parts

    return (
        select(marks.c.good)
        .where(marks.c.station == parts.c.station, marks.c.identity == parts.c.identity)
        .order_by(marks.c.id.desc())
        .limit(1)
        .correlate(parts)
        .scalar_subquery()
    )


def _conditions(search: Search, good: "ColumnElement[bool]") -> "list[ColumnElement[bool]]":
    from pyramidflow.line.history.schema import parts

    c = parts.c
    wanted: list[ColumnElement[bool]] = []
    if search.station is not None:
        wanted.append(c.station == search.station)
    if search.found == "dropped":
        wanted.append(c.dropped.is_(True))
    elif search.found == "error":
        wanted += [c.verdict.is_(None), c.dropped.is_(False)]
    elif search.found is not None:
        wanted.append(c.verdict == search.found)
    if search.mark is not None:
        known = {"good": good.is_(True), "bad": good.is_(False), "none": good.is_(None)}
        wanted.append(known[search.mark])
    if search.late:
        wanted.append(c.late.is_(True))
    if search.text:
        wanted.append(c.identity.contains(search.text, autoescape=True))
    if search.since is not None:
        wanted.append(c.time >= search.since)
    if search.until is not None:
        wanted.append(c.time < search.until)
    if search.before is not None:
        wanted.append(c.id < search.before)
    return wanted
