"""The distance to the nearest entry on the CPU, by ``csrc/nearest``."""

import platform

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.libraries.cpu import function
from pyramidflow.ops.nearest import reference

MACHINES = ("x86_64", "AMD64")
"""Whose products of pairs of whole numbers are faster than those of floats."""

FEWEST_PAIRS = 1 << 20
"""Pairs of a position and an entry for which a search of its own looks for axes first."""


@function("nearest_size")
def _size(floats: Tensor, entry_count: int, feature_count: int) -> None: ...


@function("nearest_prepare")
def _prepare(
    entries: Tensor, known: Tensor, entry_count: int, feature_count: int, has_axes: int
) -> None: ...


@function("nearest_distance")
def _nearest_distance(
    features: Tensor,
    entries: Tensor,
    known: Tensor,
    distances: Tensor,
    positions: int,
    entry_count: int,
    feature_count: int,
) -> None: ...


def is_supported() -> bool:
    """Whether the kernel is faster than the oracle here."""
    return platform.machine() in MACHINES


def nearest_distance(features: Tensor, entries: Tensor) -> Tensor:
    """``√(min_n ‖f_p − e_n‖² / F)``; the oracle's where the kernel leaves a position open."""
    if not is_supported():
        return reference.nearest_distance(features, entries)
    entries = entries.contiguous()
    has_axes = len(features) * len(entries) >= FEWEST_PAIRS
    return searched(features, entries, prepared(entries, has_axes))


def prepared(entries: Tensor, has_axes: bool = True) -> Tensor:
    """What searches need of their entries; it belongs to the instruction set that made it.

    Args:
        entries: contiguous ``[N, F]``.
        has_axes: whether few axes are looked for in which entries differ most.
    """
    entry_count, feature_count = entries.shape
    size = torch.empty(1, dtype=torch.int64)
    _size(size, entry_count, feature_count)
    known = allocation.empty((int(size),), like=entries)
    _prepare(entries, known, entry_count, feature_count, has_axes)
    return known


def searched(features: Tensor, entries: Tensor, known: Tensor) -> Tensor:
    """The distances among entries of which :func:`prepared` made what is known."""
    features = features.contiguous()
    count = len(features)
    distances = allocation.empty((count,), like=features)
    _nearest_distance(features, entries, known, distances, count, *entries.shape)
    left = (distances < 0).nonzero()[:, 0]
    if len(left):
        centre = entries.mean(0)  # of differences of large numbers little is left
        rows = features[left].sub_(centre)
        distances[left] = reference.nearest_distance(rows, entries - centre)
    return distances
