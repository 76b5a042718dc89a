"""The distance to the nearest entry on the CPU, by ``csrc/nearest``."""

import platform

from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.libraries.cpu import function
from pyramidflow.ops.nearest import reference

MACHINES = ("x86_64", "AMD64")
"""Whose products of pairs of whole numbers are faster than those of floats."""


@function("nearest_distance")
def _nearest_distance(
    features: Tensor,
    entries: Tensor,
    distances: Tensor,
    positions: int,
    entry_count: int,
    feature_count: int,
) -> None: ...


def nearest_distance(features: Tensor, entries: Tensor) -> Tensor:
    """``√(min_n ‖f_p − e_n‖² / F)``; the oracle's where the kernel leaves a position open."""
    if platform.machine() not in MACHINES:
        return reference.nearest_distance(features, entries)
    features, entries = features.contiguous(), entries.contiguous()
    count = features.shape[0]
    distances = allocation.empty((count,), like=features)
    _nearest_distance(features, entries, distances, count, *entries.shape)
    left = (distances < 0).nonzero()[:, 0]
    if len(left):
        centre = entries.mean(0)  # of differences of large numbers little is left
        rows = features[left].sub_(centre)
        distances[left] = reference.nearest_distance(rows, entries - centre)
    return distances
