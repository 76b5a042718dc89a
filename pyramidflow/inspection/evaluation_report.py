"""From an evaluation to its report: curves, and the examples worth a look."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pyramidflow.data import read_image, resize_image, to_uint8
from pyramidflow.detector import Detector
from pyramidflow.evaluation import Evaluation, pro_curve, roc_curve
from pyramidflow.inspection.overlay import overlay
from pyramidflow.inspection.report import write_report
from pyramidflow.inspection.report_data import Curve, Report, ReportExample

EXAMPLES = 4
"""Examples in each of the report's two sections."""


def write_evaluation_report(
    detector: Detector, evaluation: Evaluation, summary: Sequence[tuple[str, str]], path: Path
) -> None:
    """Write the report of an evaluation as one HTML file.

    The worst examples are those furthest on the wrong side of the threshold (or nearest to it on
    the right side), the best are the defects furthest above it.

    Args:
        detector: the one that was evaluated.
        evaluation: what it did.
        summary: facts to show first, as (name, value).
        path: the file.

    Raises:
        InputError: the file cannot be written.
    """
    margin = evaluation.scores - evaluation.threshold
    margin = np.where(evaluation.labels, margin, -margin)  # [N], negative where misjudged
    order = np.argsort(margin, kind="stable")
    worst = order[:EXAMPLES]
    best = [i for i in order[::-1] if evaluation.labels[i] and i not in worst][:EXAMPLES]
    masked = [(i, mask) for i, mask in enumerate(evaluation.masks) if mask is not None]
    has_regions = any(mask.any() for _, mask in masked)
    maps = evaluation.maps[[i for i, _ in masked]]
    masks = [mask for _, mask in masked]
    report = Report(
        title=f"Evaluation of {evaluation.category}",
        summary=summary,
        metrics=evaluation.metrics.as_dict(),
        roc_image=_defined(roc_curve(evaluation.scores, evaluation.labels)),
        roc_pixel=_defined(roc_curve(maps, np.stack(masks))) if has_regions else None,
        pro=_defined(pro_curve(maps, masks)) if has_regions else None,
        scores=evaluation.scores,
        labels=evaluation.labels,
        kinds=evaluation.kinds,
        threshold=evaluation.threshold,
        scale=detector.map_scale,
        best=[_example(detector, evaluation, i) for i in best],
        worst=[_example(detector, evaluation, i) for i in worst],
    )
    write_report(report, path)


def _defined(curve: Curve) -> Curve | None:
    return curve if curve[0].size else None


def _example(detector: Detector, evaluation: Evaluation, index: int) -> ReportExample:
    path = evaluation.paths[index]
    size = evaluation.image_size
    image = resize_image(to_uint8(read_image(path)), size)
    return ReportExample(
        name=f"{path.parent.name}/{path.name}",
        kind=evaluation.kinds[index],
        label_defective=bool(evaluation.labels[index]),
        score=float(evaluation.scores[index]),
        verdict="ng" if evaluation.scores[index] > evaluation.threshold else "ok",
        image=image,
        overlay=overlay(image, evaluation.maps[index], detector.map_scale, evaluation.threshold),
        mask=evaluation.masks[index],
    )
