"""The charts of the evaluation report: ROC, per-region overlap, scores."""

import io
import math
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pyramidflow.evaluation.metrics import PRO_LIMIT
from pyramidflow.evaluation.report.contents import Curve, Report, number_text, rate_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MOST_CURVE_POINTS: Final = 400
_HISTOGRAM_BINS: Final = 32

_INK: Final = "#1c2430"
_MUTED: Final = "#8a94a0"
_BLUE: Final = "#0f5fa8"
_ORANGE: Final = "#d1500f"


def charts(report: Report) -> list[dict[str, Any]]:
    """Key, title and SVG of each chart."""
    import matplotlib
    from markupsafe import Markup

    style: dict[Any, Any] = {
        "svg.fonttype": "path",
        "svg.hashsalt": "report",
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.edgecolor": _MUTED,
        "axes.labelcolor": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e8ec",
        "grid.linewidth": 0.7,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "text.color": _INK,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.solid_joinstyle": "round",
    }
    with matplotlib.rc_context(style):
        drawn = {
            "roc": ("ROC: true against false positive rate", _roc_chart(report)),
            "pro": ("PRO: covered share of each defect", _pro_chart(report)),
            "scores": ("Scores of good and defective images", _score_chart(report)),
        }
        return [
            {"key": key, "title": title, "svg": Markup(_svg(figure, key))}
            for key, (title, figure) in drawn.items()
        ]


def _roc_chart(report: Report) -> "Figure":
    figure, axes = _figure("False positive rate", "True positive rate")
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
    drawn = False
    for name, key, curve, colour, dashes in (
        ("image", "image_auroc", report.curves.roc_image, _BLUE, "-"),
        ("pixel", "pixel_auroc", report.curves.roc_pixel, _ORANGE, (0, (5, 1.5))),
    ):
        points = _drawable(curve)
        if points is None:
            continue
        area = report.metrics.get(key, math.nan)
        axes.plot(*points, color=colour, linestyle=dashes, label=f"{name}, area {rate_text(area)}")
        drawn = True
    if drawn:
        axes.legend(loc="lower right")
    else:
        _say_undefined(axes)
    _unit_square(axes)
    return figure


def _pro_chart(report: Report) -> "Figure":
    figure, axes = _figure("False positive rate", "Per-region overlap")
    points = _drawable(report.curves.pro)
    if points is None:
        _say_undefined(axes)
    else:
        rate, overlap = points
        axes.plot(rate, overlap, color=_BLUE)
        inside = np.append(rate[rate < PRO_LIMIT], PRO_LIMIT)
        axes.fill_between(
            inside, np.interp(inside, rate, overlap), color=_BLUE, alpha=0.14, linewidth=0
        )
    axes.axvline(PRO_LIMIT, color=_INK, linewidth=1, linestyle=(0, (4, 2)))
    axes.annotate(
        f"limit {PRO_LIMIT}", (PRO_LIMIT, 0.04), xytext=(4, 0), textcoords="offset points"
    )
    _unit_square(axes)
    return figure


def _score_chart(report: Report) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure("Anomaly score", "Images")
    scores = np.asarray(report.images.scores, dtype=np.float64)
    defective = report.images.defective
    reach = np.append(scores, report.threshold)
    edges = np.histogram_bin_edges(reach, bins=_HISTOGRAM_BINS)
    for name, chosen, colour, hatch in (
        ("good", ~defective, _BLUE, ""),
        ("defective", defective, _ORANGE, "////"),
    ):
        if chosen.any():
            heights = np.histogram(scores[chosen], edges)[0]
            axes.stairs(
                heights,
                edges,
                fill=True,
                facecolor=colour + "59",
                edgecolor=colour,
                hatch=hatch,
                linewidth=1.2,
                label=f"{name} ({int(chosen.sum())})",
            )
    label = f"threshold {number_text(report.threshold)}"
    axes.axvline(report.threshold, color=_INK, linewidth=1.2, linestyle=(0, (4, 2)), label=label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.margins(x=0.02)
    figure.legend(loc="outside upper center", ncols=3, handlelength=1.6, columnspacing=1.2)
    return figure


def _figure(xlabel: str, ylabel: str) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.5), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.tick_params(length=0)
    return figure, axes


def _unit_square(axes: "Axes") -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)


def _say_undefined(axes: "Axes") -> None:
    axes.text(0.5, 0.5, "not defined for this test set", ha="center", va="center", color=_INK)


def _svg(figure: "Figure", key: str) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    # Several drawings share one page: without a prefix, equal ids would point into one another.
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{key}-", drawing)


def _drawable(curve: Curve | None) -> Curve | None:
    if curve is None:
        return None
    x, y = (np.asarray(values, dtype=np.float64) for values in curve)
    if len(x) < 2 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    if len(x) <= _MOST_CURVE_POINTS:
        return x, y
    travelled = np.append(0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y))))
    stops = np.linspace(0, travelled[-1], _MOST_CURVE_POINTS)
    kept = np.unique(np.append(np.searchsorted(travelled, stops), len(x) - 1))
    kept = kept[kept < len(x)]
    return x[kept], y[kept]
