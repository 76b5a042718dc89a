"""What the numbers of the scaling show: fits, sentences made of them, and plots."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter
from scipy.optimize import nnls

from benchmarks.harness import results

METHOD = """\
Each point is a process of its own: it loads a detector's file, prepares, and inspects an image that
is in memory. The time is the median of its rounds after a first one; the memory is the most that
the process ever held, PyTorch, the file and the preparation included. The plan is the fastest one;
where that takes more than the memory budget, a second row has the plan that keeps to it, in
overlapping tiles where whole images do not fit. Unless a heading says otherwise, what is not varied
is that of a baseline at {size}×{size}: channels {channels}, levels {levels}, stacks {stacks},
threads {threads}. The sentences below are made from fits to the numbers; a deviation is the largest
of a point from its fit, relative.
"""

NAMES = {"lift": "baseline", "resnet18": "ResNet18"}
COLOURS = {"lift": "#1f6fb4", "resnet18": "#d1622b"}
LABELS = {
    "size": "side of the image (pixels)",
    "channels": "channels",
    "levels": "levels",
    "stacks": "stacks",
    "threads": "threads",
}
Rows = Sequence[dict[str, Any]]


class Power(NamedTuple):
    """``y = factor · x^exponent``, and the largest relative deviation from it."""

    factor: float
    exponent: float
    deviation: float


class Line(NamedTuple):
    """``y = start + slope · x``, and the largest relative deviation from it."""

    start: float
    slope: float
    deviation: float


def power(x: Sequence[float], y: Sequence[float]) -> Power:
    """Least squares of the logarithms."""
    exponent, intercept = np.polyfit(np.log(x), np.log(y), 1)
    fitted = np.exp(intercept) * np.power(x, exponent)
    return Power(float(np.exp(intercept)), float(exponent), _deviation(fitted, y))


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """Least squares of the relative deviations: small values count as much as large ones."""
    at = np.array(x, dtype=float)
    terms = np.stack([np.ones(len(at)), at], 1) / np.array(y, dtype=float)[:, None]
    (start, slope), *_ = np.linalg.lstsq(terms, np.ones(len(at), dtype=float), rcond=None)
    return Line(float(start), float(slope), _deviation(start + slope * at, y))


def quadratic_share(x: Sequence[float], y: Sequence[float]) -> float:
    """Share of the quadratic term at the largest ``x``, of ``y = a x + b x²`` with ``a, b ≥ 0``."""
    at = np.array(x, dtype=float)
    terms = np.stack([at, at**2], 1) / np.array(y, dtype=float)[:, None]
    (linear, square), _ = nnls(terms, np.ones(len(at)))
    return float(square * at[-1] / (linear + square * at[-1]))


def _deviation(fitted: Any, y: Any) -> float:
    return float(np.max(np.abs(np.asarray(fitted) / np.asarray(y) - 1)))


def growth(exponent: float) -> str:
    """An exponent in words."""
    for whole, word in ((0, "hardly at all"), (1, "linearly"), (2, "quadratically")):
        if abs(exponent - whole) <= 0.1:
            return word
    if exponent < 0:
        return "the other way"
    if exponent < 1:
        return "less than linearly"
    return "between linearly and quadratically" if exponent < 2 else "more than quadratically"


def text(base: dict[str, Any], all_series: Rows, picture: str) -> list[str]:
    """Lines of the Markdown file.

    Args:
        base: what is not varied.
        all_series: what is, with its rows.
        picture: name of the plots' file.
    """
    lines = [*textwrap.wrap(METHOD.format(**base), 100), "", f"![Time and memory]({picture})"]
    for series in all_series:
        at = f" at {series['size']}×{series['size']}" if series["size"] else ""
        lines += ["", f"## {NAMES[series['encoder']]}{at}, {series['name']}", ""]
        lines += [*explained(series), "", *table(series)]
    return lines


def explained(series: dict[str, Any]) -> list[str]:
    """What the fastest plans of a series show, a list item each."""
    rows = fastest(series["rows"])
    if len(rows) < 2:
        return ["- Too few points were measured for a fit."]
    return [f"- {text}" for text in EXPLANATIONS[series["name"]](rows)]


def fastest(rows: Rows) -> Rows:
    """Measured rows without a budget."""
    return [row for row in rows if "missing" not in row and row["budget"] is None]


def _times(rows: Rows) -> list[float]:
    return [row["milliseconds"] for row in rows]


def _peaks(rows: Rows) -> list[float]:
    return [row["peak_megabytes"] for row in rows]


def _of_size(rows: Rows) -> list[str]:
    pixels = [row["size"] ** 2 / 1e6 for row in rows]
    time, memory = power(pixels, _times(rows)), line(pixels, _peaks(rows))
    largest = rows[-1]
    return [
        f"Time grows {growth(time.exponent)} with the pixels: as their number to the power "
        f"{time.exponent:.2f} (deviation {time.deviation:.0%}); at {largest['size']}×"
        f"{largest['size']} a million pixels take {largest['milliseconds'] / pixels[-1]:.0f} ms, "
        f"at {rows[0]['size']}×{rows[0]['size']} {rows[0]['milliseconds'] / pixels[0]:.0f} ms.",
        f"Peak memory is {memory.start:.0f} MB and {memory.slope:.0f} MB for each million pixels "
        f"(deviation {memory.deviation:.0%}); {largest['start_megabytes']:.0f} MB are there before "
        "the detector's file is read.",
    ]


def _of_channels(rows: Rows) -> list[str]:
    channels = [row["channels"] for row in rows]
    time = power(channels, _times(rows))
    found = [
        f"Time grows {growth(time.exponent)} with the channels: to the power {time.exponent:.2f} "
        f"(deviation {time.deviation:.0%}). Every channel is transformed once (linear), and at "
        "every frequency each input is multiplied into each output (quadratic): in a fit of both, "
        f"the quadratic part is {quadratic_share(channels, _times(rows)):.0%} of the time at "
        f"{channels[-1]} channels.",
        f"Peak memory goes from {rows[0]['peak_megabytes']:.0f} to "
        f"{rows[-1]['peak_megabytes']:.0f} MB.",
    ]
    if all(row["plan"] for row in rows):
        work = power(channels, [row["plan"]["multiply_adds"] for row in rows])
        planned = power(channels, [row["plan"]["megabytes"] for row in rows])
        found[0] += f" The products' multiply-adds grow to the power {work.exponent:.2f}."
        found[1] += f" What the plan asks for grows to the power {planned.exponent:.2f}."
    return found


def _of_levels(rows: Rows) -> list[str]:
    time = line([row["levels"] for row in rows], _times(rows))
    first, last = rows[0], rows[-1]
    pixels = [sum(4.0**-d for d in range(row["levels"])) for row in (first, last)]
    return [
        f"A level more costs {time.slope:.1f} ms, on top of {time.start:.1f} ms (deviation "
        f"{time.deviation:.0%}): from {first['levels']} to {last['levels']} levels time grows by "
        f"{last['milliseconds'] / first['milliseconds'] - 1:.0%}, while the pyramid's pixels grow "
        f"by {pixels[1] / pixels[0] - 1:.0%}; every level reads its "
        "blocks' weights, however few its pixels.",
        f"Peak memory goes from {first['peak_megabytes']:.0f} to {last['peak_megabytes']:.0f} MB.",
    ]


def _of_stacks(rows: Rows) -> list[str]:
    stacks = [row["stacks"] for row in rows]
    time, memory = line(stacks, _times(rows)), line(stacks, _peaks(rows))
    whole = time.start + time.slope * stacks[-1]
    return [
        f"A stack costs {time.slope:.1f} ms; {time.start:.1f} ms do not depend on their number, "
        f"{time.start / whole:.0%} of the time with {stacks[-1]} (deviation {time.deviation:.0%}).",
        f"Peak memory is {memory.start:.0f} MB and {memory.slope:.1f} MB for each stack: its "
        f"weights and means (deviation {memory.deviation:.0%}).",
    ]


def _of_threads(rows: Rows) -> list[str]:
    first, last = rows[0], rows[-1]
    ratio = last["threads"] / first["threads"]
    faster = first["milliseconds"] / last["milliseconds"]
    serial = (ratio / faster - 1) / (ratio - 1)
    return [
        f"{last['threads']} threads are {faster:.2f} times as fast as {first['threads']}, "
        f"{faster / ratio:.0%} of the ideal: as if {max(serial, 0):.0%} of the time could not be "
        "shared (Amdahl).",
        f"Peak memory goes from {first['peak_megabytes']:.0f} to {last['peak_megabytes']:.0f} MB.",
    ]


EXPLANATIONS: dict[str, Callable[[Rows], list[str]]] = {
    "size": _of_size,
    "channels": _of_channels,
    "levels": _of_levels,
    "stacks": _of_stacks,
    "threads": _of_threads,
}


def table(series: dict[str, Any]) -> list[str]:
    """Rows as Markdown."""
    name = series["name"]
    heads = [name, "plan", "ms", "to prepare ms", "peak MB", "planned MB"]
    rows = [[str(row[name]), *_cells(row)] for row in series["rows"]]
    return results.table([*heads, "billion multiply-adds"], rows, texts=2)


def _cells(row: dict[str, Any]) -> list[str]:
    plan = "fastest" if row["budget"] is None else f"within {row['budget']} MB"
    if "missing" in row:
        return [f"{plan}; {row['missing']}"]
    planned = row["plan"]
    if planned is not None and planned["tiles"] > 1:
        plan += f", {planned['tiles']} tiles"
    cells = [plan, f"{row['milliseconds']:.1f}", f"{row['prepare_milliseconds']:.0f}"]
    cells.append(f"{row['peak_megabytes']:.0f}")
    if planned is not None:
        cells += [f"{planned['megabytes']:.0f}", f"{planned['multiply_adds'] / 1e9:.1f}"]
    return cells


def plot(all_series: Sequence[dict[str, Any]]) -> Figure:
    """A column for what is varied, with the time above and the memory below."""
    names = list(dict.fromkeys(series["name"] for series in all_series))
    figure = Figure(figsize=(1.2 + 2.9 * len(names), 6), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False, sharex="col")
    quantities = (("milliseconds", "time (ms)"), ("peak_megabytes", "peak memory (MB)"))
    for column, name in enumerate(names):
        shown = [series for series in all_series if series["name"] == name]
        values = sorted({row[name] for series in shown for row in series["rows"]})
        for (key, label), axis in zip(quantities, axes[:, column], strict=True):
            for series in shown:
                _draw(axis, series, key)
            logarithmic = name == "size" or (name, key) == ("channels", "milliseconds")
            _finish(axis, name, values, logarithmic)
            if column == 0:
                axis.set_ylabel(label)
        axes[1, column].set_xlabel(LABELS[name])
    if any(axis.get_legend_handles_labels()[0] for axis in axes.flat):
        axes[0, 0].legend(frameon=False, fontsize=8)
    return figure


def _draw(axis: Axes, series: dict[str, Any], key: str) -> None:
    name, encoder = series["name"], series["encoder"]
    measured = [row for row in series["rows"] if "missing" not in row]
    for within, style in ((False, "o-"), (True, "s--")):
        rows = [row for row in measured if (row["budget"] is not None) == within]
        if rows:
            label = NAMES[encoder] + (f", within {rows[0]['budget']} MB" if within else "")
            x, y = [row[name] for row in rows], [row[key] for row in rows]
            fill = "white" if within else COLOURS[encoder]
            axis.plot(
                x, y, style, color=COLOURS[encoder], label=label, markersize=5, markerfacecolor=fill
            )


def _finish(axis: Axes, name: str, values: Sequence[int], logarithmic: bool) -> None:
    if name in ("size", "channels"):
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(values)
    if logarithmic:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(ScalarFormatter())
        axis.yaxis.set_minor_locator(NullLocator())
    else:
        axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
