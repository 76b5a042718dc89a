"""Exact threshold metrics of anomaly detection: AUROC, AUPRO, average precision, best F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pyramidflow.errors import InputError
from pyramidflow.evaluation.masks import BoolArray, region_shares
from pyramidflow.evaluation.ranking import Array, FloatArray, Ranking, area, rank, without_repeats

Images: TypeAlias = Array | Sequence[Array]
OptionalImages: TypeAlias = Array | Sequence[Array | None] | None


PRO_LIMIT = 0.3
"""False-positive rate up to which the per-region overlap is integrated: the field's convention."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of one test set; one that is undefined on it is NaN.

    Attributes:
        pixel_auroc: area under the ROC curve over the pixels.
        image_auroc: area under the ROC curve over the image scores.
        aupro_005: area under the per-region overlap for false-positive rates to 0.05, divided by
            0.05.
        aupro_03: area under the per-region overlap for false-positive rates to 0.3, divided by 0.3.
        aupro_10: area under the per-region overlap for all false-positive rates.
        pixel_f1_max: best F1 over the pixels.
        image_f1_max: best F1 over the image scores.
        pixel_average_precision: average precision over the pixels.
        image_average_precision: average precision over the image scores.
    """

    pixel_auroc: float
    image_auroc: float
    aupro_005: float
    aupro_03: float
    aupro_10: float
    pixel_f1_max: float
    image_f1_max: float
    pixel_average_precision: float
    image_average_precision: float

    def as_dict(self) -> dict[str, float]:
        """Give the metrics under the names of the field.

        Returns:
            Keys ``pixel_auroc``, ``image_auroc``, ``aupro@0.05``, ``aupro@0.3``, ``aupro@1.0``,
            ``pixel_f1_max``, ``image_f1_max``, ``pixel_ap`` and ``image_ap``, in this order.
        """
        return {
            "pixel_auroc": self.pixel_auroc,
            "image_auroc": self.image_auroc,
            "aupro@0.05": self.aupro_005,
            "aupro@0.3": self.aupro_03,
            "aupro@1.0": self.aupro_10,
            "pixel_f1_max": self.pixel_f1_max,
            "image_f1_max": self.image_f1_max,
            "pixel_ap": self.pixel_average_precision,
            "image_ap": self.image_average_precision,
        }


def auroc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve.

    ``P(score of a positive > score of a negative) + P(equal) / 2``

    Args:
        scores: real numbers of any shape; higher means more anomalous.
        labels: same shape, boolean or 0/1; true is anomalous.

    Returns:
        A number in [0, 1]; NaN when only one class is present.

    Raises:
        InputError: shapes differ, a score is NaN, or a label is neither 0 nor 1.

    Source:
        Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006.
    """
    return rank(*_split_scores(scores, labels)).auroc()


def average_precision(scores: Array, labels: Array) -> float:
    """Average precision: the area under the precision-recall curve, in steps.

    ``Σ_n (R_n − R_{n−1}) · P_n`` over the distinct scores from the highest down, where recall
    ``R_n`` and precision ``P_n`` count everything at or above the n-th; equal scores enter
    together.

    Args:
        scores: as for :func:`auroc`.
        labels: likewise.

    Returns:
        A number in [0, 1]; NaN when only one class is present.

    Raises:
        InputError: shapes differ, a score is NaN, or a label is neither 0 nor 1.

    Source:
        Davis and Goadrich, "The relationship between precision-recall and ROC curves", ICML 2006,
        on why the points must not be joined by straight lines.
    """
    return rank(*_split_scores(scores, labels)).average_precision()


def f1_max(scores: Array, labels: Array) -> tuple[float, float]:
    """Best F1 over all thresholds, and the threshold that attains it.

    ``F1(t) = 2·TP / (2·TP + FP + FN)``, positive where ``score >= t``

    Args:
        scores: as for :func:`auroc`.
        labels: likewise.

    Returns:
        The best F1 in (0, 1], and the score that attains it as a threshold (the highest, if
        several do); both NaN when only one class is present.

    Raises:
        InputError: shapes differ, a score is NaN, or a label is neither 0 nor 1.

    Source:
        van Rijsbergen, "Information Retrieval", 1979, chapter 7.
    """
    return rank(*_split_scores(scores, labels)).f1_max()


def roc_curve(scores: Array, labels: Array) -> tuple[FloatArray, FloatArray]:
    """The exact ROC curve, by its corners.

    ``(FP(t) / negatives, TP(t) / positives)`` for the thresholds t from the highest down. Points
    inside a horizontal stretch are left out; straight lines between the corners are the curve.

    Args:
        scores: as for :func:`auroc`.
        labels: likewise.

    Returns:
        False-positive rate [K] and true-positive rate [K], from (0, 0) to (1, 1), neither ever
        falling; both empty when only one class is present.

    Raises:
        InputError: shapes differ, a score is NaN, or a label is neither 0 nor 1.

    Source:
        Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006.
    """
    ranking = rank(*_split_scores(scores, labels))
    return without_repeats(*ranking.corners(ranking.recall))


def pro_curve(maps: Images, masks: Images) -> tuple[FloatArray, FloatArray]:
    """The exact per-region overlap curve, by its corners.

    ``PRO(t) = mean over regions r of |{p in r : map_p >= t}| / |r|`` against the false-positive
    rate over the normal pixels of all images, good ones too. A region is a connected set of
    defective pixels of one image, in the 8-neighbourhood.

    Args:
        maps: anomaly maps, one array [N, H, W] or N arrays [H, W] of any sizes.
        masks: boolean or 0/1 in the same form; true is defective.

    Returns:
        False-positive rate [K] and overlap [K], from (0, 0) to (1, 1), neither ever falling; both
        empty when there is no region, or no normal pixel.

    Raises:
        InputError: counts or shapes differ, a map holds NaN, or a mask other values than 0 and 1.

    Source:
        Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021: the PRO curve.
    """
    ranking = _rank_pixels(maps, masks)
    return without_repeats(*ranking.corners(ranking.overlap))


def aupro(maps: Images, masks: Images, max_fpr: float) -> float:
    """Area under the per-region overlap curve to a false-positive rate.

    ``1/max_fpr · ∫_0^max_fpr PRO(fpr) dfpr`` by trapezoids, the curve starting at (0, 0) and being
    cut at ``max_fpr`` by linear interpolation; ``pro_curve`` says what PRO is.

    Args:
        maps: anomaly maps, one array [N, H, W] or N arrays [H, W] of any sizes.
        masks: boolean or 0/1 in the same form; true is defective.
        max_fpr: where the integral ends, in (0, 1]; 0.3 is the convention of the field.

    Returns:
        A number in [0, 1]; NaN when there is no region, or no normal pixel.

    Raises:
        InputError: counts or shapes differ, a map holds NaN, a mask other values than 0 and 1, or
            ``max_fpr`` is outside (0, 1].

    Source:
        Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021: the PRO curve.
    """
    if not 0.0 < max_fpr <= 1.0:
        raise InputError(f"max_fpr is {max_fpr}: give a number above 0 and at most 1.")
    ranking = _rank_pixels(maps, masks)
    return area(*ranking.corners(ranking.overlap), max_fpr)


def thin_curve(x: FloatArray, y: FloatArray, points: int = 512) -> tuple[FloatArray, FloatArray]:
    """Leave out points of a curve that the eye cannot tell apart; for drawing only.

    Keeps, for ``points`` even steps along ``Σ |Δx| + |Δy|``, the first point at or past each. No
    point left out is farther than one step from a kept one. Areas must come from the whole curve.

    Args:
        x: abscissae [K].
        y: ordinates [K].
        points: how many to keep at most, 2 or more.

    Returns:
        Abscissae and ordinates [at most ``points``] of kept points, first and last among them.

    Raises:
        InputError: ``x`` and ``y`` are not of one length, or ``points`` is below 2.
    """
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"x has shape {x.shape} and y {y.shape}: give two 1-D arrays of one length."
        )
    if points < 2:
        raise InputError(f"points is {points}: give at least 2, the ends of the curve.")
    if len(x) <= points:
        return x, y
    travelled = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
    steps = np.linspace(0.0, travelled[-1], points)[1:-1]
    kept = np.unique(np.concatenate(([0], np.searchsorted(travelled, steps), [len(x) - 1])))
    return x[kept], y[kept]


def evaluate_maps(
    maps: Images,
    masks: OptionalImages,
    image_scores: Array,
    image_labels: Array,
) -> Metrics:
    """Every metric of a test set, from one sort of its pixels.

    The formulas are those of ``auroc``, ``aupro``, ``f1_max`` and ``average_precision``. Labels and
    masks are independent: an image is defective because ``image_labels`` says so, never because its
    mask is not empty.

    Memory beside the input: about 8 bytes for each normal pixel (twice its map's item size) and 120
    for each defective one.

    Args:
        maps: anomaly maps, one array [N, H, W] or N arrays [H, W] of any sizes; float32 is fastest.
        masks: boolean or 0/1 in the same form, true is defective; in a sequence None stands for a
            missing mask: a good image is then normal everywhere, a defective image is left out of
            the pixel metrics. None for all: the set has no masks, the pixel metrics are NaN.
        image_scores: score of each image [N]; higher means more anomalous.
        image_labels: boolean or 0/1 [N]; true is defective.

    Returns:
        The metrics; those that the set leaves undefined are NaN (pixel metrics without a defective
        or without a normal pixel, image metrics with one class only).

    Raises:
        InputError: counts or shapes differ, a map or score is NaN, or a mask or label holds other
            values than 0 and 1.

    Source:
        Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, for the protocol.
    """
    image_ranking = rank(*_split_scores(image_scores, image_labels))
    if image_scores.shape != (len(maps),):
        raise InputError(
            f"image_scores has shape {image_scores.shape}, but there are {len(maps)} maps: "
            "give one score for each map."
        )
    maps, masks = _with_usable_masks(maps, masks, image_labels)
    return metrics_of(_rank_pixels(maps, masks), image_ranking)


def metrics_of(pixels: Ranking, images: Ranking) -> Metrics:
    """Every metric, read from the ranked pixels and the ranked images.

    Args:
        pixels: ranking of the pixels, each region of weight 1 in its overlap.
        images: ranking of the image scores.

    Returns:
        The metrics; those of an undefined ranking are NaN.
    """
    pro_corners = pixels.corners(pixels.overlap)
    return Metrics(
        pixel_auroc=pixels.auroc(),
        image_auroc=images.auroc(),
        aupro_005=area(*pro_corners, 0.05),
        aupro_03=area(*pro_corners, PRO_LIMIT),
        aupro_10=area(*pro_corners, 1.0),
        pixel_f1_max=pixels.f1_max()[0],
        image_f1_max=images.f1_max()[0],
        pixel_average_precision=pixels.average_precision(),
        image_average_precision=images.average_precision(),
    )


def _split_scores(scores: Array, labels: Array) -> tuple[Array, Array]:
    scores = _checked_scores(scores, "scores")
    labels = _checked_labels(labels, "labels")
    if scores.shape != labels.shape:
        raise InputError(
            f"scores has shape {scores.shape} and labels {labels.shape}: give equal shapes."
        )
    return scores[~labels], scores[labels]


def _rank_pixels(maps: Images, masks: Images) -> Ranking:
    """Rank all pixels; a defective one weighs what it is of its region."""
    if len(maps) != len(masks):
        raise InputError(f"there are {len(maps)} maps and {len(masks)} masks: give one mask each.")
    normal, defective, weights = [np.empty(0, np.float32)], [np.empty(0, np.float32)], [np.empty(0)]
    for index, (map_, mask) in enumerate(zip(maps, masks, strict=True)):
        scores = _checked_scores(map_, f"map {index}")
        inside = _checked_labels(mask, f"mask {index}")
        if scores.ndim != 2 or scores.shape != inside.shape:
            raise InputError(
                f"map {index} has shape {scores.shape} and its mask {inside.shape}: "
                "give both as [H, W]."
            )
        normal.append(scores[~inside])
        defective.append(scores[inside])
        weights.append(region_shares(inside))
    kind = np.result_type(*normal)
    negative = np.concatenate(normal, dtype=kind)
    normal.clear()
    return rank(negative, np.concatenate(defective, dtype=kind), np.concatenate(weights))


def _with_usable_masks(
    maps: Images, masks: OptionalImages, image_labels: Array
) -> tuple[list[Array], list[Array]]:
    if masks is None:
        return [], []
    if len(maps) != len(masks):
        raise InputError(f"there are {len(maps)} maps and {len(masks)} masks: give one mask each.")
    used_maps, used_masks = [], []
    for map_, mask, defective in zip(maps, masks, image_labels, strict=True):
        if mask is None and defective:
            continue
        used_maps.append(map_)
        used_masks.append(np.broadcast_to(np.False_, np.shape(map_)) if mask is None else mask)
    return used_maps, used_masks


def _checked_scores(scores: Array, name: str) -> Array:
    if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "fiub":
        raise InputError(f"{name} is {_kind(scores)}: give a numpy array of real numbers.")
    if np.isnan(scores).any():
        raise InputError(f"{name} holds NaN, which has no rank: give numbers only.")
    return scores


def _checked_labels(labels: Array, name: str) -> BoolArray:
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "fiub":
        raise InputError(f"{name} is {_kind(labels)}: give a numpy array of booleans or 0/1.")
    if labels.dtype == np.bool_:
        return labels
    truth: BoolArray = labels != 0
    if (truth & (labels != 1)).any():
        raise InputError(f"{name} holds values other than 0 and 1: give booleans or 0/1.")
    return truth


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return f"a {type(value).__name__}"
