"""What the evaluation report shows, and how it writes numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyramidflow.errors import InputError
from pyramidflow.io.names import printable

Curve = tuple[NDArray[Any], NDArray[Any]]
"""Two arrays ``[points]``: false positive rate, then true positive rate or region overlap."""

_MISSING: Final = "–"


@dataclass(frozen=True)
class ReportExample:
    """One image shown in the report.

    Attributes:
        name: file name, as it is; the report escapes it.
        kind: ``good`` or the kind of defect.
        label_defective: true if the image is known to be defective.
        score: anomaly score of the image, in units of the map.
        verdict: what the detector said, in its own words.
        image: uint8 ``[H, W, 3]``, RGB.
        overlay: the image with its map, uint8 ``[H, W, 3]``, from
            :func:`pyramidflow.detector.overlay.overlay`.
        mask: ground truth, bool ``[H, W]``, or ``None`` if there is none.
    """

    name: str
    kind: str
    label_defective: bool
    score: float
    verdict: str
    image: NDArray[np.uint8]
    overlay: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None


class Curves(NamedTuple):
    """Curves of the test images; ``None`` for one that is not defined.

    Attributes:
        roc_image: ROC curve over images.
        roc_pixel: ROC curve over pixels.
        pro: per-region overlap curve.
    """

    roc_image: Curve | None
    roc_pixel: Curve | None
    pro: Curve | None


@dataclass(frozen=True)
class MeasuredImages:
    """The ``N`` test images: what they are, and what the detector says of them.

    Attributes:
        scores: anomaly score of each, ``[N]``.
        labels: true or 1 for a defective one, ``[N]``.
        kinds: ``good`` or the kind of defect of each, ``N`` of them.
        reviews: true for a part for review, which is not ok whatever its score, ``[N]``; ``None``
            where there is none.
    """

    scores: NDArray[Any]
    labels: NDArray[Any]
    kinds: Sequence[str]
    reviews: NDArray[Any] | None = None

    @property
    def defective(self) -> NDArray[np.bool_]:
        """True for a defective image, ``[N]``."""
        return np.asarray(self.labels).astype(np.bool_)

    def rejected(self, threshold: float) -> NDArray[np.bool_]:
        """True for an image that is not ok at a threshold, ``[N]``."""
        above: NDArray[np.bool_] = np.asarray(self.scores, dtype=np.float64) > threshold
        return above if self.reviews is None else above | self.reviews


@dataclass(frozen=True)
class Report:
    """Everything the report shows.

    Attributes:
        title: heading of the page.
        summary: facts as (name, value): model, training, sizes, seconds.
        metrics: values by key, such as ``image_auroc`` or ``aupro@0.3``; NaN shows as a dash.
        curves: to draw.
        images: the test images.
        threshold: an image is rejected if its score is greater than this.
        scale: map value of the hottest colour of the overlays.
        best: images the detector judged best.
        worst: images the detector judged worst.
        rates: what happens at the threshold, as (name, explanation, value).
        remarks: sentences that a reader of the metrics has to know.
        failures: images that could not be used, or not fully, as (path, reason).
    """

    title: str
    summary: Sequence[tuple[str, str]]
    metrics: Mapping[str, float]
    curves: Curves
    images: MeasuredImages
    threshold: float
    scale: float
    best: Sequence[ReportExample]
    worst: Sequence[ReportExample]
    rates: Sequence[tuple[str, str, str]] = ()
    remarks: Sequence[str] = ()
    failures: Sequence[tuple[str, str]] = ()

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """True for an image that is not ok, ``[N]``."""
        return self.images.rejected(self.threshold)


def check(report: Report) -> None:
    """Refuse what cannot be shown.

    Raises:
        InputError: arrays do not fit together, a score or the threshold is not finite, or the scale
            is not positive.
    """
    images = report.images
    sizes = len(images.scores), len(images.labels), len(images.kinds)
    if len(set(sizes)) != 1 or sizes[0] == 0:
        raise InputError(
            f"the report got {sizes[0]} scores, {sizes[1]} labels and {sizes[2]} kinds: "
            "give one of each for every test image."
        )
    if not np.isfinite(np.asarray(images.scores, dtype=np.float64)).all():
        raise InputError("a score is not finite: leave out images that could not be scored.")
    if not math.isfinite(report.threshold):
        raise InputError(f"the threshold is {report.threshold}: give a finite number.")
    if not (math.isfinite(report.scale) and report.scale > 0):
        raise InputError(f"the scale is {report.scale}: give a finite number greater than 0.")
    for example in (*report.worst, *report.best):
        shape = example.image.shape
        mask_fits = example.mask is None or example.mask.shape == shape[:2]
        if example.overlay.shape != shape or not mask_fits:
            raise InputError(
                f"image, overlay and mask of {printable(example.name)} differ in size: give all "
                "three alike."
            )


def number_text(value: float) -> str:
    """Four significant digits, or a dash for what is not finite."""
    return f"{value:.4g}" if math.isfinite(value) else _MISSING


def rate_text(value: float) -> str:
    """Four decimals, or a dash for what is not finite."""
    return f"{value:.4f}" if math.isfinite(value) else _MISSING
