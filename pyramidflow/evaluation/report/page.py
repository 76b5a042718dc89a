"""The evaluation report: one HTML file that opens anywhere, offline, on a phone or on paper."""

import base64
import io
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyramidflow.detector.overlay import colour_bar
from pyramidflow.errors import InputError
from pyramidflow.evaluation.report.charts import charts
from pyramidflow.evaluation.report.contents import (
    Report,
    ReportExample,
    check,
    number_text,
    rate_text,
)
from pyramidflow.io.names import printable

_WIDEST_PICTURE: Final = 512
_SMALLEST_PICTURE: Final = 256

_BAR_STOPS: Final = 17

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
    "aupro@0.05": (
        "AUPRO, limit 0.05",
        "Mean covered share of each defect at false positive rates that a line can bear.",
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


def write_report(report: Report, path: Path) -> Path:
    """Write the report as one self-contained HTML file.

    The file loads nothing: styles, pictures and charts are inside it. It replaces an older file in
    one step, so that a reader never sees half a report.

    Args:
        report: what to show.
        path: file to write; missing folders are made.

    Returns:
        ``path``.

    Raises:
        InputError: arrays do not fit together, a score or the threshold is not finite, the scale is
            not positive, or ``path`` is a folder or cannot be written.
    """
    from pyramidflow.io.files import write_atomically

    check(report)
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{printable(path)} is a folder: give the name of the HTML file to write.")
    page = _render(report).encode()
    write_atomically(path, lambda file: file.write(page))
    return path


def _render(report: Report) -> str:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    source = (files("pyramidflow.evaluation.report") / "page.html").read_text(encoding="utf-8")
    bar = colour_bar(_BAR_STOPS, 1)[0]  # [stops, 3]
    return environment.from_string(source).render(
        title=printable(report.title),
        summary=[(printable(name), printable(value)) for name, value in report.summary],
        confusion=_confusion(report),
        metrics=[
            (*_METRICS.get(key, (printable(key), "")), rate_text(v))
            for key, v in report.metrics.items()
        ]
        + [(name, explanation, printable(text)) for name, explanation, text in report.rates],
        remarks=[printable(remark) for remark in report.remarks],
        failures=[(printable(name), printable(reason)) for name, reason in report.failures],
        charts=charts(report),
        kinds=_kind_rows(report),
        sections=[
            ("Worst examples", [_example(e, report) for e in report.worst]),
            ("Best examples", [_example(e, report) for e in report.best]),
        ],
        threshold=number_text(report.threshold),
        threshold_position=_percent_of_scale(report.threshold, report.scale),
        scale=number_text(report.scale),
        bar=", ".join(f"rgb({r} {g} {b})" for r, g, b in bar),
    )


def _confusion(report: Report) -> dict[str, int]:
    rejected = report.rejected
    defective = report.images.defective
    return {
        "good_accepted": int((~defective & ~rejected).sum()),
        "good_rejected": int((~defective & rejected).sum()),
        "defects_missed": int((defective & ~rejected).sum()),
        "defects_found": int((defective & rejected).sum()),
    }


def _kind_rows(report: Report) -> list[dict[str, str | int | float]]:
    scores = np.asarray(report.images.scores, dtype=np.float64)
    defective = report.images.defective
    kinds = np.asarray(report.images.kinds, dtype=object)
    rows: list[dict[str, str | int | float]] = []
    for kind in sorted(set(kinds[defective])):
        of_kind = scores[defective & (kinds == kind)]
        found = int(report.rejected[defective & (kinds == kind)].sum())
        rows.append(
            {
                "kind": printable(kind),
                "images": len(of_kind),
                "found": found,
                "rate": f"{100 * found / len(of_kind):.1f} %",
                "percent": round(100 * found / len(of_kind), 2),
                "lowest": number_text(of_kind.min()),
                "median": number_text(np.median(of_kind)),
            }
        )
    return rows


def _example(example: ReportExample, report: Report) -> dict[str, Any]:
    rejected = example.score > report.threshold or example.verdict == "review"
    outcome = {
        (False, False): ("ok", "good, accepted"),
        (False, True): ("bad", "false alarm"),
        (True, False): ("bad", "missed defect"),
        (True, True): ("ok", "defect found"),
    }[example.label_defective, rejected]
    return {
        "name": printable(example.name),
        "kind": printable(example.kind),
        "score": number_text(example.score),
        "position": _percent_of_scale(example.score, report.scale),
        "verdict": printable(example.verdict),
        "outcome_class": outcome[0],
        "outcome": outcome[1],
        "image": _jpeg(example.image),
        "overlay": _jpeg(example.overlay),
        "mask": None if example.mask is None else _mask_png(example.mask),
        "no_mask": "not annotated" if example.label_defective else "no defect",
        "width": _shown_size(example.image)[0],
        "height": _shown_size(example.image)[1],
    }


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


def _percent_of_scale(value: float, scale: float) -> float:
    return round(100 * min(max(value / scale, 0.0), 1.0), 2)
