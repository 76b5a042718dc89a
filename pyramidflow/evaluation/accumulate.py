"""Pixel metrics in one pass over the maps, in memory that does not grow with their number."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyramidflow.errors import InputError
from pyramidflow.evaluation.masks import BoolArray, region_shares
from pyramidflow.evaluation.ranking import Ranking

_LARGEST: Final = int(np.float32(np.finfo(np.float32).max).view(np.uint32))
_FRACTION_BITS: Final = 23  # of float32; 8 bits of exponent lie above them
_COUNTERS: Final = 2**22
_MOST_BITS: Final = 18


class PixelStatistics:
    """Pixels of many maps, counted by value; all pixel metrics are read from the counts.

    A value's counter is numbered by its power of two and the first bits of its fraction, which
    order numbers as their values do. Values with one counter count as equal: the metrics are
    exactly those of maps that are rounded down to :attr:`significant_bits`. There are 2²² counters:
    values that spread over 16 powers of two (those of a map hardly do) keep 19 of float32's 24
    significant bits, over 32 powers 18, and over all of them 15.

    Against the maps as they are, only pixels of one counter can change places. With the share
    ``n_b`` of the normal pixels and ``w_b`` of the regions' weight in counter ``b``, AUPRO to a
    rate ``f`` is off by at most ``Σ_b n_b · w_b / 2f``, and AUROC by as much with the share ``p_b``
    of the defective pixels for ``w_b`` and ``f = 1``. A power of two fills 2¹⁸ counters: the bound
    is then near ``2·10⁻⁶``, and what is seen far below it. The best F1 is that of a threshold
    between two counters: never above the exact one, and below by what one counter's pixels do.

    Memory: up to 6 MiB for each power of two that occurs, 0.1 GB at most, and thrice as much for a
    moment when the ranking is made.
    """

    def __init__(self) -> None:
        # Pages of zeros that are never written to take no memory.
        self._pixels: npt.NDArray[np.int64] = np.zeros(_COUNTERS, np.int64)
        self._defective: npt.NDArray[np.int64] = np.zeros(_COUNTERS, np.int64)
        self._weights: npt.NDArray[np.float64] = np.zeros(_COUNTERS, np.float64)
        self._bits = _MOST_BITS  # of the fraction: each power of two has 2^bits counters
        self._exponents: list[int] = []  # of the powers of two, in the order of their counters
        self._places = np.full(256, -1)  # of an exponent in that list

    @property
    def significant_bits(self) -> int:
        """Of a value, those that tell it from others: 19, or down to 15 where values spread far."""
        return self._bits + 1

    def add(self, anomaly_map: npt.NDArray[np.float32], mask: BoolArray) -> None:
        """Count the pixels of a map.

        Args:
            anomaly_map: float32 ``[H, W]``, not negative and finite.
            mask: true on the defects, bool ``[H, W]``; its regions are those of
                :func:`pyramidflow.evaluation.masks.region_shares`.

        Raises:
            InputError: the shapes or types are others, or a value is negative or not finite;
                nothing is counted then.
        """
        if anomaly_map.dtype != np.float32 or mask.dtype != np.bool_:
            raise InputError(
                f"a map of {anomaly_map.dtype} and a mask of {mask.dtype} were given to count: "
                "float32 and bool are expected; convert them."
            )
        if anomaly_map.ndim != 2 or anomaly_map.shape != mask.shape:
            raise InputError(
                f"a map of shape {list(anomaly_map.shape)} and a mask of {list(mask.shape)} were "
                "given to count: both must be [H, W] and equal; resize the mask."
            )
        bits = (anomaly_map.ravel() + np.float32(0)).view(np.uint32)  # [H·W]; -0.0 becomes 0.0
        if bits.size and bits.max() > _LARGEST:
            raise InputError(
                "an anomaly map holds a value that is negative or not finite: give a map without."
            )
        counters = self._counters(bits)
        np.add.at(self._pixels, counters, 1)
        inside = counters[mask.ravel()]  # [P]
        np.add.at(self._defective, inside, 1)
        np.add.at(self._weights, inside, region_shares(mask))

    def ranking(self) -> Ranking:
        """Rank what was counted.

        Returns:
            The ranking of the pixels; each region weighs 1 in its overlap. Undefined without a
            defective or without a normal pixel.
        """
        occupied, values = self._occupied()
        true = self._defective[occupied]
        false = self._pixels[occupied] - true
        false_at = np.cumsum(false)
        negatives = int(false.sum())
        # Without a normal pixel nothing is defined, whatever the defective ones are.
        kept = (true > 0) & (negatives > 0)
        total = np.cumsum(self._weights[occupied[kept]])
        return Ranking(
            thresholds=values[kept],
            true_at=np.cumsum(true)[kept],
            false_above=(false_at - false)[kept],
            false_at=false_at[kept],
            overlap=total / total[-1:],
            negatives=negatives,
        )

    def _counters(self, bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
        exponents = bits >> _FRACTION_BITS
        for exponent in np.flatnonzero(np.bincount(exponents, minlength=256)):
            if self._places[exponent] < 0:
                self._places[exponent] = len(self._exponents)
                self._exponents.append(int(exponent))
        while len(self._exponents) << self._bits > _COUNTERS:
            self._pixels = _halved(self._pixels)
            self._defective = _halved(self._defective)
            self._weights = _halved(self._weights)
            self._bits -= 1
        fractions = (bits & (2**_FRACTION_BITS - 1)) >> (_FRACTION_BITS - self._bits)
        counters: npt.NDArray[np.int64] = (self._places << self._bits)[exponents] + fractions
        return counters

    def _occupied(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Counters that are not 0, and the values they stand for, highest first."""
        counters, bits = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        size = 1 << self._bits
        for exponent in sorted(self._exponents, reverse=True):
            start = int(self._places[exponent]) * size
            fractions = np.flatnonzero(self._pixels[start : start + size])[::-1]
            counters.append(start + fractions)
            bits.append((exponent << _FRACTION_BITS) + (fractions << (_FRACTION_BITS - self._bits)))
        return np.concatenate(counters), np.concatenate(bits).astype(np.uint32).view(np.float32)


def _halved(counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Each two neighbours in one; the second half is free."""
    halved = np.zeros_like(counts)
    step = 1 << _MOST_BITS
    for start in range(0, len(counts), step):
        used = start + np.flatnonzero(counts[start : start + step])
        np.add.at(halved, used >> 1, counts[used])
    return halved
