"""The figure: a row for each image, a column for each method, as figures S1 and S2 of the paper."""

import io
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pyramidflow.evaluation.comparison.compare import Example, MethodComparison, MethodResult
from pyramidflow.io.files import write_atomically
from pyramidflow.io.names import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK: Final = "#1c2430"
_MUTED: Final = "#5c6670"
_OUTLINE: Final = "#00e5ff"
_COLOURS: Final = "inferno"

# Inches: a square picture's side, the space between two, what stands around them, a line of text.
_CELL, _GAP, _LEFT, _HEAD, _LINE = 1.55, 0.06, 0.28, 0.46, 0.12
_LETTERS: Final = 19
"""Of the caption, in an inch."""


def write_figure(comparison: MethodComparison, file: Path) -> None:
    """Draw the examples of a comparison as a PNG file.

    From left to right: the image with its defect outlined, each method's map with its score, the
    ground truth. A method's colours are one scale for all rows. Under a score stands how many of
    the good test images score less.

    Raises:
        InputError: the file cannot be written.
    """
    shown = [result for result in comparison.results if result.metrics is not None]
    figure, grid = _sheet(comparison, len(shown) + 2)
    scales = {result.name: _scale(comparison.examples, result.name) for result in shown}
    for example, axes in zip(comparison.examples, grid, strict=True):
        _draw_row(example, shown, scales, axes)
    for axis, (title, below) in zip(grid[0], _titles(shown), strict=True):
        font_size = 9 * min(1, axis.get_position().width * figure.get_figwidth() / 1.05)
        axis.set_title(title, fontsize=font_size, color=_INK, pad=14, fontweight="bold")
        axis.annotate(
            below,
            (0.5, 1),
            (0, 3),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            fontsize=6.5,
            color=_MUTED,
        )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_atomically(file, lambda opened: opened.write(buffer.getvalue()))


def _sheet(comparison: MethodComparison, columns: int) -> "tuple[Figure, list[list[Axes]]]":
    """An empty figure with its caption: a cell for each picture, all of one area."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, aspect = len(comparison.examples), comparison.size[1] / comparison.size[0]
    cell = (_CELL * math.sqrt(aspect), _CELL / math.sqrt(aspect))
    width = _LEFT + columns * (cell[0] + _GAP)
    caption = textwrap.wrap(_caption(comparison), int(_LETTERS * width))
    foot = _LINE * (len(caption) + 1)
    height = _HEAD + rows * (cell[1] + _GAP) - _GAP + foot
    figure = Figure(figsize=(width, height), dpi=160)
    FigureCanvasAgg(figure)
    figure.text(
        _LEFT / width,
        foot / 2 / height,
        "\n".join(caption),
        fontsize=6.5,
        color=_MUTED,
        va="center",
    )
    grid = figure.subplots(
        rows,
        columns,
        squeeze=False,
        gridspec_kw={
            "wspace": _GAP / cell[0],
            "hspace": _GAP / cell[1],
            "left": _LEFT / width,
            "right": 1 - _GAP / width,
            "top": 1 - _HEAD / height,
            "bottom": foot / height,
        },
    )
    return figure, [list(axes) for axes in grid]


def _titles(shown: list[MethodResult]) -> list[tuple[str, str]]:
    middle = [(result.name, f"{result.milliseconds:.3g} ms") for result in shown]
    return [("Image", ""), *middle, ("Ground truth", "")]


def _caption(comparison: MethodComparison) -> str:
    return (
        f"{printable(comparison.category)}: {comparison.images} test images, maps at "
        f"{comparison.size[0]}×{comparison.size[1]}. Time: for an image, median. Below a score: "
        "the share of good test images that score less. Colours: each method's own scale, one "
        "for all rows, from the median of the maps shown to the median of their defects' peaks."
    )


def _scale(examples: tuple[Example, ...], name: str) -> tuple[float, float]:
    """Black is the median of all maps shown; brightest the middle one of the defects' peaks.

    With the highest peak at the top, one glaring defect would darken all others.
    """
    low = float(np.median([example.maps[name] for example in examples]))
    defective = [each for each in examples if each.sample.is_defective] or examples
    high = float(np.median([example.maps[name].max() for example in defective]))
    return low, float(max(high, np.nextafter(low, np.inf)))


def _draw_row(
    example: Example,
    shown: list[MethodResult],
    scales: dict[str, tuple[float, float]],
    axes: "list[Axes]",
) -> None:
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
    axes[0].imshow(example.picture)
    axes[0].set_ylabel(printable(example.sample.kind), fontsize=7.5, color=_INK)
    if example.mask is not None and example.mask.any():
        axes[0].contour(example.mask, [0.5], colors=_OUTLINE, linewidths=0.5)
    for axis, result in zip(axes[1:-1], shown, strict=True):
        low, high = scales[result.name]
        axis.imshow(example.maps[result.name], cmap=_COLOURS, vmin=low, vmax=high)
        _write_score(axis, example.scores[result.name], result)
    if example.mask is None:
        axes[-1].text(0.5, 0.5, "not known", ha="center", va="center", transform=axes[-1].transAxes)
        return
    axes[-1].imshow(example.mask, cmap="gray", vmin=0, vmax=1)


def _write_score(axis: "Axes", score: float, result: MethodResult) -> None:
    from matplotlib.patheffects import withStroke

    text = f"{score:.0f}" if score >= 100 else f"{score:.3g}"
    if len(result.good_scores):
        below = float(np.mean(result.good_scores < score))
        text += f"\n> {below:.0%} of good"
    style: dict[str, Any] = {"path_effects": [withStroke(linewidth=1.5, foreground="black")]}
    axis.text(
        0.03,
        0.03,
        text,
        transform=axis.transAxes,
        fontsize=6.5,
        color="white",
        va="bottom",
        linespacing=1.1,
        **style,
    )
