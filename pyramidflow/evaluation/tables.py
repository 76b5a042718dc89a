"""The per-category table: rows, CSV and Markdown."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyramidflow.evaluation.evaluate import Evaluation
from pyramidflow.io.files import write_atomically

Row = dict[str, Any]

MEAN = "mean"
SETTINGS = ("images", "seed", "epoch", "size", "seconds")
"""Columns that describe a row's run; the mean leaves all but images and seconds empty."""


def table_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """One row for each category, and the mean over categories below them.

    Args:
        evaluations: one for each category.

    Returns:
        Rows with the same keys: ``category``, the metrics, ``false_reject_rate`` and
        ``detection_rate`` at the detector's threshold, and :data:`SETTINGS`. Undefined values are
        NaN; the mean is over the categories where a value is defined. Metrics are fractions of 1.
    """
    rows = [_row(evaluation) for evaluation in evaluations]
    mean: Row = dict.fromkeys(rows[0], None)
    mean["category"] = MEAN
    for key in rows[0]:
        if key not in ("category", *SETTINGS):
            mean[key] = _mean([row[key] for row in rows])
    mean["images"] = sum(row["images"] for row in rows)
    mean["seconds"] = sum(row["seconds"] for row in rows)
    return [*rows, mean]


def _row(evaluation: Evaluation) -> Row:
    recipe = evaluation.training["recipe"]
    return {
        "category": evaluation.category,
        **evaluation.metrics.as_dict(),
        "false_reject_rate": evaluation.false_reject_rate,
        "detection_rate": evaluation.detection_rate,
        "images": len(evaluation.paths),
        "seed": recipe["seed"],
        "epoch": recipe["epochs"],
        "size": evaluation.image_size,
        "seconds": evaluation.seconds,
    }


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def formatted(row: Row) -> dict[str, str]:
    """A row as text: fractions with four digits, seconds with one, a dash for what is undefined."""

    def text(key: str, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            if math.isnan(value):
                return "–"
            return f"{value:.1f}" if key == "seconds" else f"{value:.4f}"
        return str(value)

    return {key: text(key, value) for key, value in row.items()}


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the table as CSV with full precision; undefined values are empty.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if v is None or v != v else v for k, v in row.items()})
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def write_markdown(rows: Sequence[Row], path: Path) -> None:
    """Write the table as Markdown.

    Raises:
        InputError: the file cannot be written.
    """
    lines = [list(rows[0]), ["---", *["---:"] * (len(rows[0]) - 1)]]
    lines += [list(formatted(row).values()) for row in rows]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    write_atomically(path, lambda file: file.write(text.encode()))
