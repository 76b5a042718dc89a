"""A history as a file for other programs."""

import csv
import io
from collections.abc import Iterable
from typing import BinaryIO

from pyramidflow.io.lines import json_line
from pyramidflow.line.history.store import HistoryPart
from pyramidflow.line.rows import COLUMNS, row_of


def write_jsonl(file: BinaryIO, parts: Iterable[HistoryPart]) -> None:
    """Write a line of JSON for each part: its record, and ``marked_good``."""
    for part in parts:
        file.write(json_line({**part.record, "marked_good": part.good}))


def write_csv(file: BinaryIO, parts: Iterable[HistoryPart]) -> None:
    """Write a row for each part, below a row of names; flags are 1, 0 or empty."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*COLUMNS, "marked_good"))
    for part in parts:
        marked = None if part.good is None else int(part.good)
        writer.writerow([*row_of(part.record), marked])
    text.flush()
    text.detach()
