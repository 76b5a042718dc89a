"""The history of a line in a database: SQLite in the line's folder, or PostgreSQL by its URL."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable
from pyramidflow.line.extras import need
from pyramidflow.line.frame import now
from pyramidflow.line.history.columns import part_columns, record_text

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Engine, Select
    from sqlalchemy.engine import URL

VERSION: Final = "0001"
"""Of the tables; the last file in ``line/history/migrations/versions``."""

_AT_ONCE: Final = 1000
_ADVISORY_LOCK: Final = 0x50595246  # one migration at a time on a PostgreSQL server
_SECONDS_TO_CONNECT: Final = 5


class HistoryPart(NamedTuple):
    """A part of the history.

    Attributes:
        number: its row; grows with each part.
        record: what the line said of it.
        good: what a person said of it last; ``None`` where nobody did.
    """

    number: int
    record: Mapping[str, Any]
    good: bool | None


class Judged(NamedTuple):
    """What the line said of a part, in short.

    Attributes:
        station: that it belongs to.
        time: when it was taken.
        detector: digest of the detector's file.
        verdict: ``None`` where there is none.
        score: ``None`` where there is none.
        late: whether it came after its deadline.
        dropped: whether it was let go unseen.
        good: what a person said of it last; ``None`` where nobody did.
    """

    station: str
    time: datetime
    detector: str
    verdict: str | None
    score: float | None
    late: bool
    dropped: bool
    good: bool | None


@dataclass(frozen=True)
class Chosen:
    """Which parts of a history.

    Attributes:
        station: of this station only.
        since: taken at or after it.
        until: taken before it.
    """

    station: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


class Store:
    """The history in a database.

    Args:
        engine: of SQLAlchemy; its tables exist.
        name: of the database, without a password.
    """

    def __init__(self, engine: "Engine", name: str) -> None:
        self._engine = engine
        self.name = name

    @classmethod
    def open(cls, url: str, *, create: bool = False) -> "Store":
        """Open a history.

        Args:
            url: as SQLAlchemy writes it: ``sqlite:///line.sqlite``,
                ``postgresql://user@host/database``.
            create: make what is missing and bring older tables to this version; otherwise the
                database is only read.

        Raises:
            InputError: the URL is none, its database is of no kind that is known, cannot be
                reached, holds no history, or one of another version.
        """
        need("sqlalchemy", "line", "the history")
        from sqlalchemy.exc import SQLAlchemyError

        made = _made_url(url)
        name = printable(made.render_as_string(hide_password=True))
        if made.drivername.startswith("sqlite") and not create:
            path = Path(made.database or "")
            if not path.is_file():
                raise InputError(f"there is no history {printable(path)}: name a line's store.")
        engine = _engine(made)
        try:
            with engine.connect() as connection:
                version = _version(connection)
            if create and version != VERSION:
                _check_not_newer(version, name)
                _migrate(engine)
        except SQLAlchemyError as error:
            engine.dispose()
            raise InputError(
                f"{name} cannot be opened ({short_reason(error)}): see whether the database is "
                "there, and whether the URL and the permissions are right."
            ) from error
        if not create and version != VERSION:
            engine.dispose()
            _check_not_newer(version, name)
            raise InputError(
                f"{name} holds no history of this version: start the line once with this program."
            )
        return cls(engine, name)

    @property
    def engine(self) -> "Engine":
        """Of SQLAlchemy, for further questions."""
        return self._engine

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Add parts, in one transaction; those whose station and identity are there stay as is.

        Args:
            records: as :meth:`pyramidflow.line.record.Record.as_dict` makes them.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database is away, or cannot hold a value.
        """
        from pyramidflow.line.history.schema import parts

        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert
        else:
            from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
        statement = insert(parts).on_conflict_do_nothing(index_elements=["station", "identity"])
        rows = [{**part_columns(record), "record": record} for record in records]
        with self._engine.begin() as connection:
            connection.execute(statement, rows)

    def mark(self, station: str | None, identity: str, good: bool, who: str, note: str = "") -> str:
        """Keep what a person says of a part.

        Args:
            station: of the part; ``None`` where its identity is in one station only.
            identity: of the part.
            good: whether it was.
            who: says so.
            note: further words.

        Returns:
            The part's station.

        Raises:
            InputError: there is no such part, or in several stations, or nobody says it.
        """
        from sqlalchemy import insert, select

        from pyramidflow.line.history.schema import marks, parts

        if not who.strip():
            raise InputError("who says so is empty: give a name.")
        wanted = select(parts.c.station).where(parts.c.identity == identity)
        if station is not None:
            wanted = wanted.where(parts.c.station == station)
        with self._engine.begin() as connection:
            stations = list(connection.scalars(wanted))
            if len(stations) != 1:
                where = "" if station is None else f" of station {printable(station)}"
                place, advice = (
                    (f"in several stations, {printable(', '.join(sorted(stations)))}", "name one")
                    if stations
                    else (f"not in {self.name}", "see its records for the identity")
                )
                raise InputError(f"part {printable(identity)}{where} is {place}: {advice}.")
            values = {"station": stations[0], "identity": identity, "good": good, "who": who}
            connection.execute(insert(marks).values(**values, time=now(), note=note or None))
        return str(stations[0])

    def parts(self, chosen: Chosen | None = None, *, marked: bool = False) -> Iterator[HistoryPart]:
        """Parts in the order of their rows.

        A page at a time: a reader that takes long holds up nothing.

        Args:
            chosen: which; ``None`` for all.
            marked: only parts that a person said something of.
        """
        from pyramidflow.line.history.schema import parts

        for number, record, good in self._pages([parts.c.record], chosen, marked):
            yield HistoryPart(number, record, good)

    def judged(self, chosen: Chosen | None = None) -> Iterator[Judged]:
        """What was judged, without the records, in the order of the rows.

        Args:
            chosen: which parts; ``None`` for all.
        """
        from pyramidflow.line.history.schema import parts

        c = parts.c
        columns = [c.station, c.time, c.detector, c.verdict, c.score, c.late, c.dropped]
        for row in self._pages(columns, chosen, False):
            yield Judged(*row[1:])

    def _pages(
        self, columns: "Sequence[Column[Any]]", chosen: Chosen | None, marked: bool
    ) -> Iterator[Any]:
        """Rows: number, columns, what a person said last."""
        from sqlalchemy import and_, func, select

        from pyramidflow.line.history.schema import marks, parts

        last = (
            select(marks.c.station, marks.c.identity, func.max(marks.c.id).label("id"))
            .group_by(marks.c.station, marks.c.identity)
            .subquery()
        )
        is_of_part = and_(last.c.station == parts.c.station, last.c.identity == parts.c.identity)
        query: Select[Any] = (
            select(parts.c.id, *columns, marks.c.good)
            .outerjoin(last, is_of_part)
            .outerjoin(marks, marks.c.id == last.c.id)
            .order_by(parts.c.id)
            .limit(_AT_ONCE)
        )
        query = _within(query, Chosen() if chosen is None else chosen)
        if marked:
            query = query.where(marks.c.good.is_not(None))
        number = 0
        while True:
            with self._engine.connect() as connection:
                page = connection.execute(query.where(parts.c.id > number)).all()
            yield from page
            if len(page) < _AT_ONCE:
                return
            number = page[-1][0]


def short_reason(error: Exception) -> str:
    """What a database said, in one line, without statements, values and passwords."""
    origin = getattr(error, "orig", None)
    text = str(error if origin is None else origin).strip() or type(error).__name__
    return printable(text.splitlines()[0])


def history_url(text: str) -> str:
    """The URL of a history that a user named by its URL or as a SQLite file."""
    return text if "://" in text else sqlite_url(Path(os.path.expanduser(text)))


def check_url(url: str) -> None:
    """Refuse a URL that names no database of a kind that is known.

    Raises:
        InputError: it does not.
    """
    _made_url(url)


def _made_url(url: str) -> "URL":
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        made = make_url(url)
    except ArgumentError as error:
        # The sentence does not repeat it: it may hold a password.
        raise InputError(
            "the database's URL cannot be read: write it as sqlite:///line.sqlite or "
            "postgresql://user@host/database."
        ) from error
    kind = made.drivername.partition("+")[0]
    if kind in ("postgresql", "postgres"):
        need("psycopg", "line", "a history in PostgreSQL")
        return made.set(drivername="postgresql+psycopg")
    if kind == "sqlite":
        return made
    raise InputError(f"the database is {printable(kind)}: a history lies in sqlite or postgresql.")


def _engine(url: "URL") -> "Engine":
    from sqlalchemy import create_engine, event

    def text(record: Mapping[str, Any]) -> str:
        return record_text(record)

    if url.drivername.startswith("postgresql"):
        return create_engine(
            url,
            json_serializer=text,
            pool_size=1,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _SECONDS_TO_CONNECT},
        )
    engine = create_engine(url, json_serializer=text, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    return engine


def _version(connection: "Connection") -> str | None:
    from sqlalchemy import inspect, text

    if not inspect(connection).has_table("history_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM history_version"))
    return None if found is None else str(found)


def _check_not_newer(version: str | None, name: str) -> None:
    if version is not None and version > VERSION:
        raise InputError(
            f"{name} holds a history of version {version} where this program knows {VERSION}: "
            "update the program."
        )


def _migrate(engine: "Engine") -> None:
    need("alembic", "line", "the history")
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import text

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with engine.connect() as connection, connection.begin():
        # Two lines that start at once: the second waits, and then finds the tables.
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _within(query: "Select[Any]", chosen: Chosen) -> "Select[Any]":
    from pyramidflow.line.history.schema import parts

    if chosen.station is not None:
        query = query.where(parts.c.station == chosen.station)
    if chosen.since is not None:
        query = query.where(parts.c.time >= chosen.since)
    return query if chosen.until is None else query.where(parts.c.time < chosen.until)
