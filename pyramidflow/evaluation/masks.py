"""Ground-truth masks: their regions, and their reduction to the size that a detector works at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

BoolArray: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ReducedMask:
    """A mask at another size.

    Attributes:
        mask: true on the defects, bool ``[h, w]``.
        defects: connected regions of the mask that was reduced.
        small_defects: those of them that the nearest-neighbour rule alone would lose.
    """

    mask: BoolArray
    defects: int
    small_defects: int


def region_shares(mask: BoolArray) -> npt.NDArray[np.float64]:
    """What share of its region each defective pixel is: ``1 / |region|``.

    A region is a connected set of defective pixels, in the 8-neighbourhood.

    Args:
        mask: true on the defects, bool ``[H, W]``, ``P`` pixels of them.

    Returns:
        ``[P]``, in the order of ``mask``'s rows; the shares of a region add up to 1.
    """
    if not mask.any():
        return np.empty(0)
    labels, _ = _label(mask)
    regions = labels[mask]  # [P]
    shares: npt.NDArray[np.float64] = 1.0 / np.bincount(regions)[regions]
    return shares


def reduce_mask(mask: BoolArray, size: tuple[int, int]) -> ReducedMask:
    """Resize a mask by nearest neighbour, without losing a defect.

    A pixel of the result is defective where the pixel under its centre is, as in published numbers.
    A defect that lies under no centre would vanish: it is kept by the pixels of the result that
    hold more than half as much of it as the one that holds the most. A speck thus becomes one
    pixel, and a thin scratch stays a scratch.

    Args:
        mask: true on the defects, bool ``[H, W]``.
        size: height and width of the result, in pixels.

    Returns:
        The reduced mask, and how many defects there are and would have been lost.
    """
    height, width = mask.shape
    centres = np.ix_(_centres(height, size[0]), _centres(width, size[1]))
    reduced: BoolArray = np.ascontiguousarray(mask[centres])  # [h, w]
    if not mask.any():
        return ReducedMask(reduced, 0, 0)
    labels, count = _label(mask)
    lost = np.ones(count + 1, dtype=bool)
    lost[0] = False
    lost[labels[centres]] = False
    if lost.any():
        rows, columns = np.nonzero(lost[labels])
        cells = _cells(rows, height, size[0]) * size[1] + _cells(columns, width, size[1])
        reduced.ravel()[_fullest(labels[rows, columns], cells)] = True
    return ReducedMask(reduced, count, int(lost.sum()))


def _centres(length: int, size: int) -> npt.NDArray[np.int64]:
    return ((np.arange(size) + 0.5) * length / size).astype(np.int64)


def _cells(positions: npt.NDArray[Any], length: int, size: int) -> npt.NDArray[np.int64]:
    cells: npt.NDArray[np.int64] = (2 * positions.astype(np.int64) + 1) * size // (2 * length)
    return cells


def _fullest(regions: npt.NDArray[Any], cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Cells that hold more than half as many pixels of a region as its fullest one.

    Args:
        regions: region of each pixel [P].
        cells: cell of each pixel [P].
    """
    pairs, counts = np.unique(np.stack([regions, cells]), axis=1, return_counts=True)
    most = np.zeros(int(regions.max()) + 1, dtype=np.int64)
    np.maximum.at(most, pairs[0], counts)
    kept: npt.NDArray[np.int64] = pairs[1, 2 * counts > most[pairs[0]]]
    return kept


def _label(mask: BoolArray) -> tuple[npt.NDArray[Any], int]:
    """Number the regions of a mask from 1 on; 0 is outside."""
    from scipy.ndimage import label

    labels, count = label(mask, structure=np.ones((3, 3)))
    return labels, int(count)
