"""The paper's tables with the measured number, the published one, and how far they lie apart."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from pyramidflow.evaluation.reproduction.experiments import VARIANTS
from pyramidflow.evaluation.reproduction.published import METRICS, Published, published
from pyramidflow.evaluation.reproduction.reproduce import State
from pyramidflow.evaluation.tables import write_csv
from pyramidflow.io.files import write_atomically
from pyramidflow.io.names import markdown_cell
from pyramidflow.training.presets.mvtec import TEXTURES

OBJECTS = (
    "bottle",
    "cable",
    "capsule",
    "hazelnut",
    "metal_nut",
    "pill",
    "screw",
    "toothbrush",
    "transistor",
    "zipper",
)
BTAD = ("01", "02", "03")

FILES = ("tables.md", "tables.csv", "tables.json")
"""What :func:`write_tables` writes."""

HEAD = """\
# The paper's numbers, measured again

In each cell: measured (published, difference), in per cent. AUPRO is integrated to a
false-positive rate of 1.0, as in the paper. Measured is the last epoch; the paper's numbers are of
the epoch that is best on the test images. Mean: over the categories that have a number in the row,
of the published ones as well.
"""


@dataclass(frozen=True)
class Cell:
    """A category in a variant.

    Attributes:
        state: where its experiment stands.
        layout: of its data set; empty where none of its categories can be read.
        printed: what the paper prints; ``None`` for nothing.
    """

    state: State
    layout: str
    printed: Published | None

    @property
    def category(self) -> str:
        """Its column."""
        return self.state.experiment.category

    def measured(self, metric: str) -> float | None:
        """In per cent; ``None`` where there is no result that holds."""
        record = self.state.record
        if self.state.problem is not None or record is None:
            return None
        value = record.metrics.get(metric)
        return None if value is None else 100 * value

    def published(self, metric: str) -> float | None:
        """In per cent."""
        return None if self.printed is None else self.printed.values.get(metric)

    def difference(self, metric: str) -> float | None:
        """Measured minus published, in percentage points."""
        return _difference(self.measured(metric), self.published(metric))

    def text(self, metric: str) -> str:
        """As ``90.1 (90.8, −0.7)``: measured, and in brackets published and the difference."""
        return _text(self.measured(metric), self.published(metric))


@dataclass(frozen=True)
class Sheet:
    """A table of the paper.

    Attributes:
        title: of its categories.
        cells: in the order of its columns, variant by variant.
    """

    title: str
    cells: tuple[Cell, ...]

    @property
    def metrics(self) -> list[str]:
        """Those that the paper has, or all where it has none."""
        has = {name for cell in self.cells if cell.printed for name in cell.printed.values}
        return [name for name in METRICS if name in has or not has]


def table_cells(states: Sequence[State]) -> list[Cell]:
    """What the tables show.

    Args:
        states: of all experiments of a data set.
    """
    layout = next((state.layout for state in states if state.layout is not None), "")
    return [
        Cell(
            state,
            layout,
            published(
                layout,
                state.experiment.spec.network.encoder,
                state.experiment.variant.name,
                state.experiment.category,
            ),
        )
        for state in states
    ]


def write_tables(cells: Sequence[Cell], folder: Path, facts: dict[str, str]) -> None:
    """Write ``tables.md``, ``tables.csv`` and ``tables.json``.

    CSV and JSON hold a row for each category and variant, with every metric in per cent and full
    precision; the Markdown has the paper's tables.

    Args:
        cells: of all tables.
        folder: of the files.
        facts: written into Markdown and JSON: what all numbers have in common.

    Raises:
        InputError: a file cannot be written.
    """
    rows = [_row(cell) for cell in cells]
    write_csv(rows, folder / FILES[1])
    _write_text(folder / FILES[0], _markdown(cells, facts))
    _write_text(folder / FILES[2], json.dumps({**facts, "rows": rows}, indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))


def _row(cell: Cell) -> dict[str, Any]:
    state, record = cell.state, cell.state.record
    row: dict[str, Any] = {
        "category": cell.category,
        "variant": state.experiment.variant.name,
        "source": None if cell.printed is None else cell.printed.source,
    }
    for metric in METRICS:
        row[metric] = cell.measured(metric)
        row[f"{metric}_published"] = cell.published(metric)
        row[f"{metric}_difference"] = cell.difference(metric)
    row["aupro@0.3"] = cell.measured("aupro@0.3")
    known = record.facts if record is not None and state.problem is None else {}
    for fact in ("epochs", "training_images", "training_seconds", "test_images", "test_seconds"):
        row[fact] = known.get(fact)
    row["failed_images"] = len(known.get("failed_images", ()))
    row["problem"] = state.problem
    return row


def _sheets(cells: Sequence[Cell]) -> list[Sheet]:
    is_btad = any(cell.layout == "btad" for cell in cells)
    known = {"BTAD": BTAD} if is_btad else {"Textures": TEXTURES, "Objects": OBJECTS}
    taken = {category for columns in known.values() for category in columns}
    others = dict.fromkeys(cell.category for cell in cells if cell.category not in taken)
    sheets = []
    for title, columns in {**known, "Other categories": tuple(others)}.items():
        found = tuple(cell for name in columns for cell in cells if cell.category == name)
        if found:
            sheets.append(Sheet(title, found))
    return sheets


def _markdown(cells: Sequence[Cell], facts: dict[str, str]) -> str:
    parts = [HEAD, "".join(f"- {name}: {markdown_cell(value)}\n" for name, value in facts.items())]
    parts += [_sheet_text(sheet) for sheet in _sheets(cells)]
    lines = [
        f"- {markdown_cell(cell.state.experiment.name)}: {markdown_cell(cell.state.problem)}\n"
        for cell in cells
        if cell.state.problem is not None
    ]
    if lines:
        parts.append("## No number yet\n\n" + "".join(lines))
    failed = [
        f"- {markdown_cell(cell.state.experiment.name)}: {markdown_cell(error)}\n"
        for cell in cells
        if cell.state.problem is None and cell.state.record is not None
        for error in cell.state.record.facts.get("failed_images", ())
    ]
    if failed:
        parts.append("## Test images that are not in the numbers\n\n" + "".join(failed))
    return "\n".join(parts)


def _sheet_text(sheet: Sheet) -> str:
    sources = dict.fromkeys(cell.printed.source for cell in sheet.cells if cell.printed)
    title = f"{sheet.title} ({', '.join(sources)})" if sources else sheet.title
    columns = list(dict.fromkeys(cell.category for cell in sheet.cells))
    lines = [["Method", "Metric", *map(markdown_cell, columns), "Mean"]]
    lines.append(["---", "---", *["---:"] * (len(columns) + 1)])
    present = {cell.state.experiment.variant for cell in sheet.cells}
    for variant in (each for each in VARIANTS if each in present):
        row = {c.category: c for c in sheet.cells if c.state.experiment.variant == variant}
        for metric in sheet.metrics:
            texts = [row[name].text(metric) if name in row else "" for name in columns]
            lines.append([variant.title, METRICS[metric], *texts, _mean_text(row.values(), metric)])
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"## {title}\n\n{table}"


def _mean_text(cells: Iterable[Cell], metric: str) -> str:
    measured = [cell for cell in cells if cell.measured(metric) is not None]
    if not measured:
        return "–"
    mean = fmean(_known(cell.measured(metric)) for cell in measured)
    if any(cell.published(metric) is None for cell in measured):
        return _text(mean, None)
    return _text(mean, fmean(_known(cell.published(metric)) for cell in measured))


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _difference(measured: float | None, printed: float | None) -> float | None:
    return None if measured is None or printed is None else measured - printed


def _text(measured: float | None, printed: float | None) -> str:
    shown = "–" if measured is None else f"{measured:.1f}"
    if printed is None:
        return shown
    difference = _difference(measured, printed)
    apart = "–" if difference is None else f"{difference:+.1f}".replace("-", "−")
    return f"{shown} ({printed:.1f}, {apart})"
