"""A record as a row of a table, for a spreadsheet."""

from collections.abc import Mapping
from typing import Any, Final

from pyramidflow.io.names import printable

COLUMNS: Final = (
    "station",
    "identity",
    "time",
    "verdict",
    "score",
    "threshold",
    "review_threshold",
    "regions",
    "milliseconds",
    "late",
    "dropped",
    "error",
    "path",
    "image",
    "overlay",
    "map",
    "detector",
)
"""Names of the values of a row."""


def row_of(record: Mapping[str, Any]) -> list[Any]:
    r"""The row of a record.

    Args:
        record: :meth:`pyramidflow.line.record.Record.as_dict`.

    Returns:
        A value for each of :data:`COLUMNS`, ``None`` where there is none. ``regions`` is their
        number and ``milliseconds`` the part's whole time; flags are 1 or 0; line breaks in texts
        are written ``\n``.
    """
    derived = {
        "regions": len(record.get("regions") or ()),
        "milliseconds": record["times"].get("total"),
        "late": int(record["late"]),
        "dropped": int(record["dropped"]),
    }
    values = (derived.get(column, record.get(column)) for column in COLUMNS)
    return [printable(value) if isinstance(value, str) else value for value in values]
