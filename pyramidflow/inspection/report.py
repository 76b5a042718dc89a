"""The evaluation report: one HTML file that opens anywhere, offline, on a phone or on paper."""

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyramidflow.errors import InputError
from pyramidflow.inspection.overlay import colour_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[NDArray[Any], NDArray[Any]]
"""Two arrays ``[points]``: false positive rate, then true positive rate or region overlap."""

PRO_LIMIT: Final = 0.3
"""False positive rate up to which AUPRO is usually integrated."""

_WIDEST_PICTURE: Final = 512
_SMALLEST_PICTURE: Final = 256
_MOST_CURVE_POINTS: Final = 400
_HISTOGRAM_BINS: Final = 32
_BAR_STOPS: Final = 17
_MISSING: Final = "–"

_INK: Final = "#1c2430"
_MUTED: Final = "#8a94a0"
_BLUE: Final = "#0f5fa8"
_ORANGE: Final = "#d1500f"

_METRICS: Final[Mapping[str, tuple[str, str]]] = {
    "image_auroc": (
        "Image AUROC",
        "Chance that a defective image scores higher than a good one; 0.5 is guessing.",
    ),
    "image_ap": (
        "Image AP",
        "Mean precision over all thresholds; depends on the share of defective images.",
    ),
    "image_f1_max": (
        "Image F1, best",
        "Balance of precision and recall over images at the most favourable threshold.",
    ),
    "pixel_auroc": (
        "Pixel AUROC",
        "Chance that a defective pixel scores higher than a good one; large defects dominate.",
    ),
    "pixel_ap": (
        "Pixel AP",
        "Mean precision over all thresholds, pixel by pixel; strict when defects are rare.",
    ),
    "pixel_f1_max": (
        "Pixel F1, best",
        "Overlap of map and ground truth at the most favourable threshold.",
    ),
    "aupro@0.3": (
        "AUPRO, limit 0.3",
        "Mean covered share of each defect, large or small, up to a false positive rate of 0.3.",
    ),
    "aupro@1.0": (
        "AUPRO, no limit",
        "Mean covered share of each defect over all false positive rates.",
    ),
}


@dataclass(frozen=True)
class ReportExample:
    """One image shown in the report.

    Attributes:
        name: File name, as it is; the report escapes it.
        kind: ``good`` or the kind of defect.
        label_defective: True if the image is known to be defective.
        score: Anomaly score of the image, in units of the map.
        verdict: What the detector said, in its own words.
        image: uint8 ``[H, W, 3]``, RGB.
        overlay: The image with its map, uint8 ``[H, W, 3]``, from
            :func:`pyramidflow.inspection.overlay.overlay`.
        mask: Ground truth, bool ``[H, W]``, or ``None`` if there is none.
    """

    name: str
    kind: str
    label_defective: bool
    score: float
    verdict: str
    image: NDArray[np.uint8]
    overlay: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True)
class Report:
    """Everything the report shows.

    Attributes:
        title: Heading of the page.
        summary: Facts as (name, value): model, training, sizes, seconds.
        metrics: Values by key, such as ``image_auroc`` or ``aupro@0.3``; NaN shows as a dash.
        roc_image: ROC curve over images, or ``None`` if it is not defined.
        roc_pixel: ROC curve over pixels, or ``None``.
        pro: Per-region overlap curve, or ``None``.
        scores: Anomaly score of each test image, ``[N]``.
        labels: True or 1 for a defective image, ``[N]``.
        kinds: ``good`` or the kind of defect of each image, ``N`` of them.
        threshold: An image is rejected if its score is greater than this.
        scale: Map value of the hottest colour of the overlays.
        best: Images the detector judged best.
        worst: Images the detector judged worst.
    """

    title: str
    summary: Sequence[tuple[str, str]]
    metrics: Mapping[str, float]
    roc_image: Curve | None
    roc_pixel: Curve | None
    pro: Curve | None
    scores: NDArray[Any]
    labels: NDArray[Any]
    kinds: Sequence[str]
    threshold: float
    scale: float
    best: Sequence[ReportExample]
    worst: Sequence[ReportExample]


def write_report(report: Report, path: Path) -> Path:
    """Write the report as one self-contained HTML file.

    The file loads nothing: styles, pictures and charts are inside it. It replaces an older file in
    one step, so that a reader never sees half a report.

    Args:
        report: What to show.
        path: File to write; missing folders are made.

    Returns:
        ``path``.

    Raises:
        InputError: Arrays do not fit together, a score or the threshold is not finite, the scale is
            not positive, or ``path`` is a folder or cannot be written.
    """
    from pyramidflow.storage import write_atomically

    _check(report)
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of the HTML file to write.")
    page = _render(report).encode("utf-8", errors="replace")
    write_atomically(path, lambda file: file.write(page))
    return path


def _render(report: Report) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = (files("pyramidflow.inspection") / "report.html").read_text(encoding="utf-8")
    bar = colour_bar(_BAR_STOPS, 1)[0]  # [stops, 3]
    return environment.from_string(source).render(
        title=report.title,
        summary=report.summary,
        confusion=_confusion(report),
        metrics=[(*_METRICS.get(key, (key, "")), _share(v)) for key, v in report.metrics.items()],
        charts=_charts(report),
        kinds=_kind_rows(report),
        sections=[
            ("Worst examples", [_example(e, report) for e in report.worst]),
            ("Best examples", [_example(e, report) for e in report.best]),
        ],
        threshold=_number(report.threshold),
        threshold_position=_percent_of_scale(report.threshold, report.scale),
        scale=_number(report.scale),
        bar=", ".join(f"rgb({r} {g} {b})" for r, g, b in bar),
    )


def _confusion(report: Report) -> dict[str, int]:
    rejected = np.asarray(report.scores) > report.threshold
    defective = np.asarray(report.labels).astype(np.bool_)
    return {
        "good_accepted": int((~defective & ~rejected).sum()),
        "good_rejected": int((~defective & rejected).sum()),
        "defects_missed": int((defective & ~rejected).sum()),
        "defects_found": int((defective & rejected).sum()),
    }


def _kind_rows(report: Report) -> list[dict[str, str | int | float]]:
    scores = np.asarray(report.scores, dtype=np.float64)
    defective = np.asarray(report.labels).astype(np.bool_)
    kinds = np.asarray(report.kinds, dtype=object)
    rows: list[dict[str, str | int | float]] = []
    for kind in sorted(set(kinds[defective])):
        of_kind = scores[defective & (kinds == kind)]
        found = int((of_kind > report.threshold).sum())
        rows.append(
            {
                "kind": kind,
                "images": len(of_kind),
                "found": found,
                "rate": f"{100 * found / len(of_kind):.1f} %",
                "percent": round(100 * found / len(of_kind), 2),
                "lowest": _number(of_kind.min()),
                "median": _number(np.median(of_kind)),
            }
        )
    return rows


def _example(example: ReportExample, report: Report) -> dict[str, Any]:
    rejected = example.score > report.threshold
    outcome = {
        (False, False): ("ok", "good, accepted"),
        (False, True): ("bad", "false alarm"),
        (True, False): ("bad", "missed defect"),
        (True, True): ("ok", "defect found"),
    }[example.label_defective, rejected]
    return {
        "name": example.name,
        "kind": example.kind,
        "score": _number(example.score),
        "position": _percent_of_scale(example.score, report.scale),
        "verdict": example.verdict,
        "outcome_class": outcome[0],
        "outcome": outcome[1],
        "image": _jpeg(example.image),
        "overlay": _jpeg(example.overlay),
        "mask": None if example.mask is None else _mask_png(example.mask),
        "no_mask": "not annotated" if example.label_defective else "no defect",
        "width": _shown_size(example.image)[0],
        "height": _shown_size(example.image)[1],
    }


def _charts(report: Report) -> list[dict[str, Any]]:
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
        charts = {
            "roc": ("ROC: true against false positive rate", _roc_chart(report)),
            "pro": ("PRO: covered share of each defect", _pro_chart(report)),
            "scores": ("Scores of good and defective images", _score_chart(report)),
        }
        return [
            {"key": key, "title": title, "svg": Markup(_svg(figure, key))}
            for key, (title, figure) in charts.items()
        ]


def _roc_chart(report: Report) -> "Figure":
    figure, axes = _figure("False positive rate", "True positive rate")
    axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.9, linestyle=(0, (2, 3)))
    drawn = False
    for name, key, curve, colour, dashes in (
        ("image", "image_auroc", report.roc_image, _BLUE, "-"),
        ("pixel", "pixel_auroc", report.roc_pixel, _ORANGE, (0, (5, 1.5))),
    ):
        points = _drawable(curve)
        if points is None:
            continue
        area = report.metrics.get(key, math.nan)
        axes.plot(*points, color=colour, linestyle=dashes, label=f"{name}, area {_share(area)}")
        drawn = True
    if drawn:
        axes.legend(loc="lower right")
    else:
        _say_undefined(axes)
    _unit_square(axes)
    return figure


def _pro_chart(report: Report) -> "Figure":
    figure, axes = _figure("False positive rate", "Per-region overlap")
    points = _drawable(report.pro)
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
    scores = np.asarray(report.scores, dtype=np.float64)
    defective = np.asarray(report.labels).astype(np.bool_)
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
    label = f"threshold {_number(report.threshold)}"
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


def _shown_size(pixels: NDArray[Any]) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    if width > _WIDEST_PICTURE:
        return _WIDEST_PICTURE, max(1, round(height * _WIDEST_PICTURE / width))
    enlarged = max(1, _SMALLEST_PICTURE // width)
    return width * enlarged, height * enlarged


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    size = _shown_size(pixels)
    method = Image.Resampling.NEAREST if size[0] > pixels.shape[1] else Image.Resampling.LANCZOS
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels).resize(size, method)
    picture.save(buffer, "JPEG", quality=90, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _mask_png(mask: NDArray[np.bool_]) -> str:
    size = _shown_size(mask)
    share = Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).resize(
        size, Image.Resampling.BOX
    )
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(share) > 0).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else _MISSING


def _share(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else _MISSING


def _percent_of_scale(value: float, scale: float) -> float:
    return round(100 * min(max(value / scale, 0.0), 1.0), 2)


def _check(report: Report) -> None:
    sizes = len(report.scores), len(report.labels), len(report.kinds)
    if len(set(sizes)) != 1 or sizes[0] == 0:
        raise InputError(
            f"The report got {sizes[0]} scores, {sizes[1]} labels and {sizes[2]} kinds; "
            "give one of each for every test image."
        )
    if not np.isfinite(np.asarray(report.scores, dtype=np.float64)).all():
        raise InputError("A score is not finite; leave out images that could not be scored.")
    if not math.isfinite(report.threshold):
        raise InputError(f"The threshold is {report.threshold}; give a finite number.")
    if not (math.isfinite(report.scale) and report.scale > 0):
        raise InputError(f"The scale is {report.scale}; give a finite number greater than 0.")
    for example in (*report.worst, *report.best):
        shape = example.image.shape
        mask_fits = example.mask is None or example.mask.shape == shape[:2]
        if example.overlay.shape != shape or not mask_fits:
            raise InputError(
                f"Image, overlay and mask of {example.name} differ in size; give all three alike."
            )
