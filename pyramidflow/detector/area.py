"""The score of a map where a defect has a least area: how high a part of that area stands out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.float32]
_Indices = npt.NDArray[np.intp]

FIRST_SHARE = 4
"""Pixels that are looked at first, and as many times more whenever they do not do: of the area."""

_FORWARD = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Rows and columns to the neighbours that come later; the others come to the pixel."""


def area_score(anomaly_map: Map, pixels: int) -> float:
    """Largest value at or above which connected pixels (8-neighbourhood) are as many as wanted.

    ``max_x γ_A(m)(x)``, the maximum of the map's area opening: the score exceeds a threshold
    exactly where a region above the threshold has at least ``A`` pixels. With ``A = 1`` it is the
    map's maximum.

    Only the highest pixels are looked at, as many as it takes. Among their values the score is
    found by bisection: where a value is too low, all below it is left out, and so is every part of
    too few pixels; where it is too high, each part above it becomes one node. Both leave about half
    of the work.

    Args:
        anomaly_map: ``[h, w]``, finite.
        pixels: ``A``, 1 to ``h · w``.

    Raises:
        ValueError: the map has fewer pixels.

    Source: L. Vincent, Morphological area openings and closings for grayscale images, 1993.
    """
    values = anomaly_map.ravel()
    if not 1 <= pixels <= values.size:
        raise ValueError(f"{pixels} pixels are asked for, of a map of {values.size}")
    if pixels == 1:
        return float(values.max())
    looked_at = FIRST_SHARE * pixels
    while looked_at < values.size:
        least = np.partition(values, values.size - looked_at)[values.size - looked_at]
        parts = _parts_above(anomaly_map, least).of_area(pixels)
        if len(parts.level):
            return parts.score(pixels)
        looked_at *= FIRST_SHARE
    return _parts_above(anomaly_map, values.min()).score(pixels)


@dataclass(frozen=True, eq=False)
class _Parts:
    """Pixels, or connected parts of them, and which of them touch.

    Attributes:
        level: value of each pixel; infinite for a part that is above all values in question.
        area: pixels of each.
        edges: pairs that touch, ``[2, E]``.
    """

    level: Map
    area: _Indices
    edges: _Indices

    def of_area(self, pixels: int) -> "_Parts":
        """Those that are connected to as many pixels."""
        labels, areas = self._grown(np.ones(len(self.level), bool))
        return self._only((areas >= pixels)[labels])

    def score(self, pixels: int) -> float:
        """The value looked for; that all nodes together have the area somewhere is known."""
        parts = self
        candidates = np.unique(parts.level)
        while len(candidates) > 1:
            middle = len(candidates) // 2
            is_above = parts.level >= candidates[middle]
            labels, areas = parts._grown(is_above)
            if (areas >= pixels).any():
                parts = parts._only(is_above & (areas >= pixels)[labels])
                candidates = candidates[middle:]
            else:
                parts = parts._merged(labels, is_above)
                candidates = candidates[:middle]
        return float(candidates[0])

    def _grown(self, is_present: npt.NDArray[np.bool_]) -> tuple[_Indices, _Indices]:
        """The part of each node, of those that are present, and the area of each part."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        ends = self.edges[:, is_present[self.edges].all(0)]
        count = len(self.level)
        graph = coo_matrix((np.ones(ends.shape[1], bool), (ends[0], ends[1])), (count, count))
        found, labels = connected_components(graph, directed=False)
        areas = np.bincount(labels, self.area * is_present, found)
        return labels, areas.astype(np.intp)

    def _only(self, is_kept: npt.NDArray[np.bool_]) -> "_Parts":
        number = np.cumsum(is_kept) - 1
        edges = number[self.edges[:, is_kept[self.edges].all(0)]]
        return _Parts(self.level[is_kept], self.area[is_kept], edges)

    def _merged(self, labels: _Indices, is_above: npt.NDArray[np.bool_]) -> "_Parts":
        """Each part above as one node; those that touch nothing more are left out."""
        count = int(labels.max()) + 1
        level = np.full(count, np.inf, np.float32)
        level[labels[~is_above]] = self.level[~is_above]  # each is a part of its own
        area = np.bincount(labels, self.area, count).astype(np.intp)
        edges = labels[self.edges]
        edges = edges[:, edges[0] != edges[1]]
        is_kept = np.isfinite(level)
        is_kept[edges.ravel()] = True
        return _Parts(level, area, edges)._only(is_kept)


def _parts_above(anomaly_map: Map, least: np.float32) -> _Parts:
    """The pixels at or above a value, each a node of its own."""
    height, width = anomaly_map.shape
    values = anomaly_map.ravel()
    at = np.flatnonzero(values >= least)
    number = np.empty(values.size, np.int32)
    number[at] = np.arange(len(at), dtype=np.int32)
    rows, columns = np.divmod(at, width)
    edges = []
    for down, right in _FORWARD:
        ends = (rows + down < height) & (columns + right >= 0) & (columns + right < width)
        here = at[ends]
        there = here + (down * width + right)
        touching = values[there] >= least
        edges.append(np.stack((number[here[touching]], number[there[touching]])))
    return _Parts(values[at], np.ones(len(at), np.intp), np.concatenate(edges, axis=1))
