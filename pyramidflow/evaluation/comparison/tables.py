"""The numbers of a comparison as Markdown and JSON."""

import json
import math
from pathlib import Path
from typing import Any

from pyramidflow.evaluation.comparison.compare import MethodComparison, MethodResult
from pyramidflow.io.files import write_atomically
from pyramidflow.io.names import markdown_cell, printable

_COLUMNS = {
    "pixel_auroc": "pixel AUROC",
    "aupro@0.3": "AUPRO ≤ 0.3",
    "image_auroc": "image AUROC",
}
"""Metrics that the table shows, in per cent; the JSON has all of them, as fractions."""

NOTES = """\
Metrics in per cent, over the maps at one size for all methods; the score of an image is its map's
maximum, for every method. ms: for an image, from its decoded pixels to the map, median. Training:
seconds, reading included.
"""


def table_lines(comparison: MethodComparison) -> list[list[str]]:
    """The table's cells, its head first."""
    lines = [["method", *_COLUMNS.values(), "ms", "training s"]]
    return lines + [_line(result) for result in comparison.results]


def _line(result: MethodResult) -> list[str]:
    if result.metrics is None:
        return [result.name, *["–"] * (len(_COLUMNS) + 2)]
    values = result.metrics.as_dict()
    numbers = [values[name] for name in _COLUMNS]
    shown = ["–" if math.isnan(x) else f"{100 * x:.1f}" for x in numbers]
    return [result.name, *shown, f"{result.milliseconds:.3g}", f"{result.training_seconds:.3g}"]


def write_markdown(
    comparison: MethodComparison, file: Path, facts: dict[str, str], figure: str
) -> None:
    """Write the table, what the numbers depend on, and a link to the figure.

    Raises:
        InputError: the file cannot be written.
    """
    head, *rows = table_lines(comparison)
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    lines += [[markdown_cell(cell) for cell in row] for row in rows]
    parts = [f"# {markdown_cell(comparison.category)}: methods side by side\n", NOTES]
    parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    height, width = comparison.size
    listed = {
        **{result.name: result.settings for result in comparison.results},
        "measured": f"{comparison.images} test images, at {height}×{width}",
        **facts,
    }
    parts.append("".join(f"- {name}: {markdown_cell(value)}\n" for name, value in listed.items()))
    wrong = [f"{each.name} failed: {each.error}" for each in comparison.results if each.error]
    wrong += [f"left out: {sentence}" for sentence in comparison.failures]
    if wrong:
        parts.append("".join(f"- {markdown_cell(sentence)}\n" for sentence in wrong))
    parts.append(f"![Maps of each method]({figure})\n")
    text = "\n".join(parts)
    write_atomically(file, lambda opened: opened.write(text.encode()))


def write_json(comparison: MethodComparison, file: Path, facts: dict[str, str]) -> None:
    """Write every number with full precision; undefined ones are ``null``.

    Raises:
        InputError: the file cannot be written.
    """
    found = {
        "category": printable(comparison.category),
        "size": list(comparison.size),
        "images": comparison.images,
        **facts,
        "methods": [_record(result) for result in comparison.results],
        "failures": [printable(sentence) for sentence in comparison.failures],
    }
    text = json.dumps(found, indent=1, allow_nan=False) + "\n"
    write_atomically(file, lambda opened: opened.write(text.encode()))


def _record(result: MethodResult) -> dict[str, Any]:
    values = {} if result.metrics is None else result.metrics.as_dict()
    return {
        "name": result.name,
        "settings": result.settings,
        "metrics": {name: None if math.isnan(x) else x for name, x in values.items()},
        "milliseconds": result.milliseconds,
        "training_seconds": result.training_seconds,
        "error": None if result.error is None else printable(result.error),
    }
