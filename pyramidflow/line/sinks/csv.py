"""Records as rows of CSV files, for a spreadsheet."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from pyramidflow.line.rows import COLUMNS, row_of
from pyramidflow.line.sinks.rotated import RotatedFile, RotatedSettings
from pyramidflow.line.sinks.sink import Entry, Sink


class CsvSink(Sink):
    """Writes each record as a row into ``START-DAY-NUMBER.csv``; each file starts with the names.

    :mod:`pyramidflow.line.rows` says what a row holds. It is one line. Every record stands there
    once, also after a crash.
    """

    Settings = RotatedSettings

    def __init__(self, settings: RotatedSettings) -> None:
        super().__init__(settings)
        self._file = RotatedFile(settings, ".csv", _key, _line(COLUMNS))

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Append the records.

        Raises:
            SinkAway: the folder cannot be written.
        """
        self._file.write(entries, [_line(row_of(entry.record)) for entry in entries])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _key(line: bytes) -> tuple[str, str] | None:
    try:
        [row] = csv.reader([line.decode()])
        return row[0], row[1]
    except (ValueError, IndexError, csv.Error):
        return None
