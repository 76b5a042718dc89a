"""A history as a file for other programs."""

import csv
import io
from collections.abc import Iterable
from typing import Any, BinaryIO, Final

from pyramidflow.io.lines import json_line
from pyramidflow.io.names import printable
from pyramidflow.line.history.store import HistoryPart

_COLUMNS: Final = (
    "station",
    "identity",
    "time",
    "verdict",
    "score",
    "threshold",
    "review_threshold",
    "milliseconds",
    "late",
    "dropped",
    "error",
    "path",
    "image",
    "overlay",
    "map",
    "detector",
    "marked_good",
)


def write_jsonl(file: BinaryIO, parts: Iterable[HistoryPart]) -> None:
    """Write a line of JSON for each part: its record, and ``marked_good``."""
    for part in parts:
        file.write(json_line({**part.record, "marked_good": part.good}))


def write_csv(file: BinaryIO, parts: Iterable[HistoryPart]) -> None:
    """Write a row for each part, below a row of names; flags are 1, 0 or empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for part in parts:
        derived = {
            "milliseconds": part.record["times"].get("total"),
            "late": int(part.record["late"]),
            "dropped": int(part.record["dropped"]),
            "marked_good": None if part.good is None else int(part.good),
        }
        values = {**part.record, **derived}
        writer.writerow([_cell(values.get(column)) for column in _COLUMNS])
    text.flush()
    text.detach()


def _cell(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
