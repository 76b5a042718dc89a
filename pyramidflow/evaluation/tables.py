"""The per-category table: rows, CSV and Markdown."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyramidflow.evaluation.evaluate import Evaluation
from pyramidflow.evaluation.rates import Rate
from pyramidflow.io.files import write_atomically
from pyramidflow.io.names import markdown_cell, printable
from pyramidflow.spec import size_text

Row = dict[str, Any]

MEAN = "mean"
COUNTS = ("images", "failed", "defects", "small_defects", "seconds")
"""Columns that the mean's row adds up."""
SETTINGS = ("detector", "seed", "epoch", "size")
"""Columns that describe a row's detector; the mean leaves them empty."""

_ACTS_IN_A_SPREADSHEET = ("=", "+", "-", "@", "\t", "\r")


def table_rows(evaluations: Sequence[Evaluation]) -> list[Row]:
    """One row for each evaluation, and the mean over categories below them.

    There is no mean where a category was measured more than once: over several detectors of one
    category among others it would say nothing.

    Args:
        evaluations: one or more.

    Returns:
        Rows with the same keys: ``category``, the metrics; at the detector's threshold
        ``pixel_f1``, ``detection_rate``, and ``false_reject_rate`` and ``escape_rate`` with the
        ends of their 95% confidence intervals; :data:`COUNTS` and :data:`SETTINGS`.
        ``images`` were measured, ``failed`` could not be used or only without their mask.
        Undefined values are NaN; the mean is over the categories where a value is defined. Metrics
        are fractions of 1.
    """
    rows = [_row(evaluation) for evaluation in evaluations]
    if not has_mean(evaluations):
        return rows
    mean: Row = dict.fromkeys(rows[0], None)
    mean["category"] = MEAN
    for key in rows[0]:
        if key in COUNTS:
            mean[key] = sum(row[key] for row in rows)
        elif key not in ("category", *SETTINGS) and not key.endswith(("_low", "_high")):
            mean[key] = _mean([row[key] for row in rows])
    return [*rows, mean]


def has_mean(evaluations: Sequence[Evaluation]) -> bool:
    """Whether a mean over the evaluations is one over categories: none was measured twice."""
    return len({evaluation.category for evaluation in evaluations}) == len(evaluations)


def _row(evaluation: Evaluation) -> Row:
    recipe = evaluation.training.get("recipe", {})  # none if the network comes from elsewhere
    return {
        "category": evaluation.category,
        **evaluation.metrics.as_dict(),
        "pixel_f1": evaluation.pixel_f1,
        **_rate("false_reject", evaluation.false_rejects),
        "detection_rate": evaluation.detection_rate,
        **_rate("escape", evaluation.escapes),
        "images": len(evaluation.measured),
        "seed": recipe.get("seed"),
        "epoch": recipe.get("epochs"),
        "size": size_text(evaluation.image_size),
        "seconds": evaluation.seconds,
        "failed": len(evaluation.failures),
        "defects": evaluation.defects,
        "small_defects": evaluation.small_defects,
        "detector": evaluation.detector_name,
    }


def _rate(name: str, rate: Rate) -> dict[str, float]:
    low, high = rate.interval()
    return {f"{name}_rate": rate.value, f"{name}_low": low, f"{name}_high": high}


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def formatted(row: Row) -> dict[str, str]:
    """A row as lines of text: fractions with four digits, seconds with one, a dash if undefined."""

    def text(key: str, value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            if math.isnan(value):
                return "–"
            return f"{value:.1f}" if key == "seconds" else f"{value:.4f}"
        return printable(value)

    return {key: text(key, value) for key, value in row.items()}


def remarks(evaluation: Evaluation) -> list[str]:
    """What a reader of the metrics has to know.

    Args:
        evaluation: the one that the metrics are from.

    Returns:
        At most one remark each on the defects that are smaller than a working pixel, the parts
        for review, and the images that could not be used; none where there are none.
    """
    found = []
    if evaluation.small_defects:
        height, width = evaluation.image_size
        found.append(
            f"Defects smaller than a pixel at the working size {height}×{width}: "
            f"{evaluation.small_defects} of {evaluation.defects}. They count with the pixels that "
            "hold most of them."
        )
    if evaluation.reviews:
        if evaluation.review_threshold is None:
            why, scored = "Parts without a pose, for review", "were scored as they lie and "
        else:
            why, scored = "For review, between both thresholds or without a pose", ""
        found.append(
            f"{why}: {evaluation.reviews} of {len(evaluation.measured)}, "
            f"{evaluation.good_reviews.count} of them good. They {scored}count as not ok, but "
            "not as false rejects."
        )
    if evaluation.failures:
        found.append(
            "Test images that could not be used, or only without their mask: "
            f"{len(evaluation.failures)} of {len(evaluation.outcomes)}. The metrics are over the "
            "rest."
        )
    return found


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the table as CSV with full precision; undefined values are empty.

    A name that a spreadsheet would take for a formula gets an apostrophe in front.

    Raises:
        InputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _csv_cell(value) for key, value in row.items()})
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        return (
            "'" + printable(value) if value.startswith(_ACTS_IN_A_SPREADSHEET) else printable(value)
        )
    return "" if value is None or value != value else value


def write_markdown(rows: Sequence[Row], path: Path, notes: Sequence[str] = ()) -> None:
    """Write the table as Markdown.

    Args:
        rows: from :func:`table_rows`.
        path: the file.
        notes: sentences to write below it, a line each.

    Raises:
        InputError: the file cannot be written.
    """
    lines = [list(rows[0]), ["---", *["---:"] * (len(rows[0]) - 1)]]
    lines += [[markdown_cell(cell) for cell in formatted(row).values()] for row in rows]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    text += "".join(f"\n{markdown_cell(note)}\n" for note in notes)
    write_atomically(path, lambda file: file.write(text.encode()))
