"""How well a detector tells held-out good images from the same with a drawn defect."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pyramidflow.detector.findings import Map
from pyramidflow.errors import InputError
from pyramidflow.evaluation.metrics import PRO_LIMIT
from pyramidflow.tuning.scene import BoolArray

Array = npt.NDArray[np.float64]

THRESHOLDS = 256
"""Thresholds at false-positive rates, and as many at the values on defects."""

RESAMPLES = 400
"""Times that the held-out images are drawn anew to learn how certain a gain is."""

SEED = 20230618
"""Of the resampling: all candidates are compared on the same draws."""


@dataclass(frozen=True)
class Parts:
    """What the criterion is made of, for one or for many draws of the held-out images.

    Attributes:
        aupro: area under the per-region overlap to a false-positive rate of 0.3; a drawn defect is
            one region.
        pixel_ap: average precision over the pixels.
        image_auroc: of the scores of images with a defect against those of good ones.
        spread: standard deviation of the good images' scores, as a share of their mean.
    """

    aupro: Array
    pixel_ap: Array
    image_auroc: Array
    spread: Array

    @property
    def criterion(self) -> Array:
        """``(2·AUPRO@0.3 + pixel AP + image AUROC) / 4``; larger is better.

        The overlap counts twice: of seven formulas it was the steadiest part on the two real sets
        that weights and defects were developed on (``benchmarks/results/tuning_kolektorsdd.md``).
        The spread is told but does not count: where settings improve it falls on one of these sets
        and rises on the other.
        """
        return (2 * self.aupro + self.pixel_ap + self.image_auroc) / 4


@dataclass(frozen=True, eq=False)
class Answers:
    """What a detector says about ``n`` good images and ``k`` defective copies of each.

    Attributes:
        good_scores: ``[n]``.
        defective_scores: ``[n, k]``.
        normal: for each good image the good pixels at or above each of ``T`` thresholds, in it and
            in its copies, ``[n, T]``; the thresholds fall.
        found: the defective pixels likewise, ``[n, T]``.
        overlap: the found shares of its copies' defects, added up, ``[n, T]``.
    """

    good_scores: Array
    defective_scores: Array
    normal: Array
    found: Array
    overlap: Array

    @classmethod
    def of(
        cls, scores: Array, maps: Sequence[Sequence[Map]], masks: Sequence[Sequence[BoolArray]]
    ) -> "Answers":
        """Count the pixels of maps.

        Args:
            scores: ``[n, 1 + k]``, of the good image first, then of its copies.
            maps: likewise, each ``[h, w]``, or the values alone that count, ``[m]``.
            masks: likewise, true on the defect; of the maps' sizes.

        Raises:
            InputError: no mask is true anywhere.
        """
        normal, defective = [], []
        for some_maps, some_masks in zip(maps, masks, strict=True):
            pairs = list(zip(some_maps, some_masks, strict=True))
            normal.append(np.sort(np.concatenate([m[~mask] for m, mask in pairs])))
            defective.append([np.sort(m[mask]) for m, mask in pairs if mask.any()])
        if not any(defective):
            raise InputError(
                "no drawn defect lies where defects count: give larger areas, or leave tuning out."
            )
        thresholds = _thresholds(normal, [np.concatenate(d) for d in defective if d])
        # Of an image whose copies have no defect that counts, nothing is added.
        reached = [
            np.reshape([_reached(values, thresholds) for values in some], (-1, len(thresholds)))
            for some in defective
        ]
        return cls(
            scores[:, 0],
            scores[:, 1:],
            np.stack([_reached(values, thresholds) for values in normal]),
            np.stack([np.sum(some, axis=0) for some in reached]),
            np.stack([np.sum(some / some[:, -1:], axis=0) for some in reached]),
        )

    @cached_property
    def parts(self) -> Parts:
        """On the images as they are; each an array ``[1]``."""
        return self.weighted(np.ones((1, len(self.good_scores))))

    @cached_property
    def resampled(self) -> Parts:
        """On :data:`RESAMPLES` draws of as many images with replacement; arrays ``[RESAMPLES]``."""
        n = len(self.good_scores)
        draws = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), RESAMPLES)
        return self.weighted(draws.astype(np.float64))

    def weighted(self, weights: Array) -> Parts:
        """With how often each image counts, ``[B, n]``; arrays ``[B]``."""
        normal, found, overlap = (weights @ a for a in (self.normal, self.found, self.overlap))
        return Parts(
            _aupro(normal, overlap),
            _average_precision(normal, found),
            self._auroc(weights),
            self._spread(weights),
        )

    def _auroc(self, weights: Array) -> Array:
        good = self.good_scores[:, None, None]
        defective = self.defective_scores[None]  # [1, n, k]
        is_above = (defective > good) + 0.5 * (defective == good)
        separated = is_above.mean(2)  # [n, n]
        pairs = weights.sum(1) ** 2
        areas: Array = np.einsum("bi,ij,bj->b", weights, separated, weights) / pairs
        return areas

    def _spread(self, weights: Array) -> Array:
        share = weights / weights.sum(1, keepdims=True)
        mean = share @ self.good_scores
        variance = share @ self.good_scores**2 - mean**2
        spread: Array = np.sqrt(np.maximum(variance, 0)) / np.maximum(mean, 1e-30)
        return spread


def _thresholds(normal: Sequence[Map], defective: Sequence[Map]) -> Array:
    """Falling values: at false-positive rates that lie close where they are small, and of defects.

    Few of many pixels suffice to place them; every pixel is counted at them.
    """
    every = max(1, sum(map(len, normal)) // 1_000_000)
    good = np.concatenate([values[::every] for values in normal])
    bad = np.concatenate([values[:: max(1, len(values) // 10_000)] for values in defective])
    low = np.geomspace(1 / len(good), PRO_LIMIT, THRESHOLDS)
    rates = np.concatenate([low, np.linspace(PRO_LIMIT, 1, THRESHOLDS // 4)])
    at_good = np.quantile(good, 1 - rates)
    at_bad = np.quantile(bad, np.linspace(0, 1, THRESHOLDS))
    least = min(float(values[0]) for values in (*normal, *defective))
    values: Array = np.unique(np.concatenate([at_good, at_bad, [least]]))[::-1]
    return values


def _reached(values: Map, thresholds: Array) -> Array:
    """How many of rising values are at least as large as each threshold."""
    counts: Array = len(values) - np.searchsorted(values, thresholds, side="left").astype(float)
    return counts


def _average_precision(normal: Array, found: Array) -> Array:
    """``Σ_t (R_t − R_{t−1}) · P_t`` for counts ``[B, T]``."""
    precision = found / np.maximum(found + normal, 1)
    gained = np.diff(found, axis=1, prepend=0) / found[:, -1:]
    precisions: Array = (gained * precision).sum(1)
    return precisions


def _aupro(normal: Array, overlap: Array) -> Array:
    """Area under the overlap to the largest false-positive rate, divided by that rate."""
    areas = np.empty(len(normal))
    for index, (false, share) in enumerate(
        zip(normal / normal[:, -1:], overlap / overlap[:, -1:], strict=True)
    ):
        below = false < PRO_LIMIT
        x = np.concatenate([[0], false[below], [PRO_LIMIT]])
        y = np.concatenate([[0], share[below], [np.interp(PRO_LIMIT, false, share)]])
        areas[index] = np.trapezoid(y, x) / PRO_LIMIT
    return areas
