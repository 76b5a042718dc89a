"""Scores ranked once, and the curves and areas that are read from the ranks.

Nothing is binned. Between two scores of defective pixels a curve only moves sideways, so its
corners lie at the distinct scores of the *defective* pixels, which are few. The normal pixels are
sorted by value alone, the defective ones by index, and the two meet in a binary search; every
metric is read from the counts that this yields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """Counts at the K distinct scores of the positives, highest first; K = 0 if undefined.

    Attributes:
        thresholds: the scores [K].
        true_at: positives at or above each threshold [K].
        false_above: negatives above each threshold [K].
        false_at: negatives at or above each threshold [K].
        overlap: share of the positives' total weight at or above each threshold [K].
        negatives: how many there are.
    """

    thresholds: Array
    true_at: IntArray
    false_above: IntArray
    false_at: IntArray
    overlap: FloatArray
    negatives: int

    @property
    def recall(self) -> FloatArray:
        """Share of the positives at or above each threshold [K]."""
        recall: FloatArray = self.true_at / self.true_at[-1:]
        return recall

    def corners(self, height: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Corners of a curve over the false-positive rate.

        Args:
            height: of the curve at each threshold [K].

        Returns:
            False-positive rates and heights, each ``[2K + 2]``; both empty if undefined.
        """
        if len(height) == 0:
            return np.empty(0), np.empty(0)
        x = np.empty(2 * len(height) + 2)
        x[0] = 0.0
        x[1:-1:2] = self.false_above
        x[2:-1:2] = self.false_at
        x[-1] = self.negatives
        x /= self.negatives
        y = np.empty_like(x)
        y[:2] = 0.0
        y[2::2] = height
        y[3::2] = height
        return x, y

    def auroc(self) -> float:
        """Area under the ROC curve; NaN if undefined."""
        return area(*self.corners(self.recall), 1.0)

    def average_precision(self) -> float:
        """``Σ_n (R_n − R_{n−1}) · P_n`` over the thresholds; NaN if undefined."""
        if len(self.true_at) == 0:
            return float("nan")
        precision = self.true_at / (self.true_at + self.false_at)
        return float(np.sum(np.diff(self.recall, prepend=0.0) * precision))

    def f1_max(self) -> tuple[float, float]:
        """Best F1 and its threshold, the highest if there are several; NaN if undefined."""
        if len(self.true_at) == 0:
            return float("nan"), float("nan")
        # 2·TP + FP + FN = TP + FP + positives
        f1 = 2 * self.true_at / (self.true_at + self.false_at + self.true_at[-1])
        best = int(np.argmax(f1))
        return float(f1[best]), float(self.thresholds[best])


def rank(negative: Array, positive: Array, weights: FloatArray | None = None) -> Ranking:
    """Rank the scores of both classes; sorts ``negative`` in place.

    Args:
        negative: scores of the normal [N], without NaN.
        positive: scores of the defective [P], without NaN.
        weights: of each positive in the overlap [P]; ``None`` weighs all alike.
    """
    if len(negative) == 0 or len(positive) == 0:
        none = np.empty(0, np.int64)
        return Ranking(positive[:0], none, none, none, np.empty(0), len(negative))
    negative.sort()
    order = np.argsort(positive)[::-1]
    falling = positive[order]
    last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    thresholds = falling[last]
    false_at = len(negative) - np.searchsorted(negative, thresholds, side="left")
    false_above = len(negative) - np.searchsorted(negative, thresholds, side="right")
    total = last + 1.0 if weights is None else np.cumsum(weights[order])[last]
    # The last total is the weights' sum but for rounding; dividing by it ends at 1 exactly.
    overlap = total / total[-1]
    return Ranking(thresholds, last + 1, false_above, false_at, overlap, len(negative))


def without_repeats(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A curve without points that equal the one before."""
    if len(x) == 0:
        return x, y
    moved = np.append(True, (x[1:] != x[:-1]) | (y[1:] != y[:-1]))
    return x[moved], y[moved]


def area(x: FloatArray, y: FloatArray, end: float) -> float:
    """``1/end · ∫_0^end y dx`` by trapezoids, cut at ``end`` by interpolation; NaN if empty.

    Args:
        x: abscissae from 0 on, never falling.
        y: ordinates.
        end: where the integral ends, above 0.
    """
    if len(x) == 0:
        return float("nan")
    inside = int(np.searchsorted(x, end, side="right"))
    total = float(np.sum(np.diff(x[:inside]) * (y[1:inside] + y[: inside - 1]))) / 2
    if inside < len(x):
        width = end - x[inside - 1]
        slope = (y[inside] - y[inside - 1]) / (x[inside] - x[inside - 1])
        total += float(width * (y[inside - 1] + slope * width / 2))
    return total / end
