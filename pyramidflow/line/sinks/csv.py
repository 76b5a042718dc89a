"""Records as rows of CSV files, for a spreadsheet."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

from pyramidflow.io.names import printable
from pyramidflow.line.sinks.rotated import RotatedFile, RotatedSettings
from pyramidflow.line.sinks.sink import Entry, Sink

_COLUMNS: Final = (
    "station",
    "identity",
    "time",
    "verdict",
    "score",
    "threshold",
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


class CsvSink(Sink):
    r"""Writes each record as a row into ``START-DAY-NUMBER.csv``; each file starts with the names.

    ``regions`` is their number and ``milliseconds`` the part's whole time. A row is one line: line
    breaks in texts are written ``\n``. Every record stands there once, also after a crash.
    """

    Settings = RotatedSettings

    def __init__(self, settings: RotatedSettings) -> None:
        super().__init__(settings)
        self._file = RotatedFile(settings, ".csv", _key, _line(_COLUMNS))

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Append the records.

        Raises:
            SinkAway: the folder cannot be written.
        """
        self._file.write(entries, [_line(_row(entry)) for entry in entries])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _row(entry: Entry) -> list[Any]:
    record = entry.record
    derived = {
        "regions": len(record.get("regions") or ()),
        "milliseconds": record["times"].get("total"),
        "late": int(record["late"]),
        "dropped": int(record["dropped"]),
    }
    return [derived.get(column, record.get(column)) for column in _COLUMNS]


def _line(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    cells = [printable(value) if isinstance(value, str) else value for value in values]
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _key(line: bytes) -> tuple[str, str] | None:
    try:
        [row] = csv.reader([line.decode()])
        return row[0], row[1]
    except (ValueError, IndexError, csv.Error):
        return None
