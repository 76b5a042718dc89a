"""A part as a row of the history."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from pyramidflow.io.lines import json_line
from pyramidflow.line.frame import now
from pyramidflow.line.storable import storable


def part_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a part that are searched; the whole record has a column of its own.

    Args:
        record: :meth:`pyramidflow.line.record.Record.as_dict`.

    Returns:
        Values by column; ``time`` in UTC, texts as :func:`pyramidflow.line.storable.storable`
        writes them.
    """
    error = record.get("error")
    return {
        "station": storable(record["station"]),
        "identity": storable(record["identity"]),
        "time": utc(record["time"]),
        "path": storable(record["path"]),
        "verdict": record.get("verdict"),
        "score": record.get("score"),
        "threshold": record.get("threshold"),
        "detector": record["detector"],
        "error": None if error is None else storable(error),
        "late": record["late"],
        "dropped": record["dropped"],
        "milliseconds": record["times"].get("total"),
    }


def record_text(record: Mapping[str, Any]) -> str:
    """A record as JSON; metadata that are no JSON are left out, and it says so.

    Raises:
        ValueError: a number of the inspection is not finite.
    """
    try:
        return json_line(record).decode().rstrip("\n")
    except (ValueError, TypeError):
        note = "its metadata are no JSON and were left out."
        error = note if record.get("error") is None else f"{record['error']} {note}"
        bare = {**record, "metadata": {}, "error": error}
        return json_line(bare).decode().rstrip("\n")


def utc(time: str | datetime | None) -> datetime:
    """A moment in UTC.

    Args:
        time: with an offset, as ISO 8601 or not; ``None`` is now.
    """
    if time is None:
        return now()
    moment = datetime.fromisoformat(time) if isinstance(time, str) else time
    return moment.astimezone(timezone.utc)


def sqlite_time(time: datetime) -> str:
    """A moment as SQLAlchemy keeps it in SQLite: in UTC, without saying so."""
    return time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
