"""The tables of the history, for SQLite and PostgreSQL; imported where they are used.

``parts`` has one row for each part, ``marks`` what people said of parts. The migrations in
``line/history/migrations`` make the same tables; a test compares the two.
"""

from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect


class UtcTime(TypeDecorator[datetime]):
    """A moment: ``timestamptz`` in PostgreSQL, text in UTC in SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """What the database gets."""
        if value is None:
            return None
        moment = value.astimezone(timezone.utc)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """What Python gets: a moment with its offset."""
        if value is None:
            return None
        is_naive = value.tzinfo is None
        return value.replace(tzinfo=timezone.utc) if is_naive else value.astimezone(timezone.utc)


# SQLite numbers rows by themselves only where the column is an INTEGER.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()


def _of_a_part() -> tuple[Column[Any], ...]:
    """The row's number, and which part the row is about."""
    return (
        Column("id", _RowNumber, primary_key=True, autoincrement=True),
        Column("station", Text, nullable=False),
        Column("identity", Text, nullable=False),
    )


parts = Table(
    "parts",
    metadata,
    *_of_a_part(),
    Column("time", UtcTime, nullable=False),
    Column("path", Text, nullable=False),
    Column("verdict", Text),
    Column("score", Double),
    Column("threshold", Double),
    Column("detector", Text, nullable=False),
    Column("error", Text),
    Column("late", Boolean, nullable=False),
    Column("dropped", Boolean, nullable=False),
    Column("milliseconds", Double),
    Column("record", JSON, nullable=False),
    UniqueConstraint("station", "identity", name="one_record_for_each_part"),
    Index("parts_by_time", "time"),
    sqlite_autoincrement=True,
)

marks = Table(
    "marks",
    metadata,
    *_of_a_part(),
    Column("good", Boolean, nullable=False),
    Column("who", Text, nullable=False),
    Column("time", UtcTime, nullable=False),
    Column("note", Text),
    Index("marks_by_part", "station", "identity"),
    sqlite_autoincrement=True,
)
