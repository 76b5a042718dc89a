"""A Gaussian on the anomaly map."""

import math

import torch
from torch import Tensor
from torch.nn import functional

REACH = 4
"""Radius of the filter in standard deviations, as in SciPy."""


class Smoothing:
    """Mean of the pixels that count, weighted by a Gaussian of their distance.

    ``(G ∗ (m·a)) / (G ∗ m)`` for a map ``a`` and the mask ``m`` of the pixels that count, 0 outside
    of it: what is outside neither enters the map nor darkens the border; so it is with the map's
    own border.

    Args:
        sigma: of the Gaussian, in pixels of the map, above 0.
        size: height and width of the map.
        counted: mask ``[h, w]``; ``None`` where all pixels count.
        device: of the maps.
    """

    def __init__(
        self, sigma: float, size: tuple[int, int], counted: Tensor | None, device: torch.device
    ) -> None:
        self._taps = [_gaussian(sigma, length) for length in size]
        self._mask = torch.ones(size, device=device) if counted is None else counted
        self._share = self._share_of(self._mask[None])

    def __call__(self, maps: Tensor, seen: Tensor | None = None) -> Tensor:
        """Smooth maps.

        Args:
            maps: ``[B, h, w]``, 0 outside the region of interest and where nothing is seen.
            seen: mask ``[B, h, w]`` of the pixels that say something; ``None`` for all.
        """
        share = self._share if seen is None else self._share_of(self._mask * seen)
        return self._filtered(maps) * share

    def _share_of(self, mask: Tensor) -> Tensor:
        return torch.where(mask > 0, mask / self._filtered(mask), 0.0)

    def _filtered(self, maps: Tensor) -> Tensor:
        down, across = self._taps
        return _along(2, across, _along(1, down, maps))


def _gaussian(sigma: float, length: int) -> list[float]:
    """Weights of a pixel itself, and of those at each distance from it."""
    radius = int(REACH * sigma + 0.5)
    weights = [math.exp(-0.5 * (distance / sigma) ** 2) for distance in range(radius + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    return [weight / total for weight in weights[:length]]


def _along(axis: int, weights: list[float], x: Tensor) -> Tensor:
    # Sums of shifted maps: the same bits wherever the map lies in memory, and on one core faster
    # than a convolution of one channel.
    radius, length = len(weights) - 1, x.shape[axis]
    ends = (radius, radius) if axis == 2 else (0, 0, radius, radius)
    padded = functional.pad(x, ends)
    result = x * weights[0]
    for distance, weight in enumerate(weights[1:], start=1):
        before = padded.narrow(axis, radius - distance, length)
        behind = padded.narrow(axis, radius + distance, length)
        result.add_(before + behind, alpha=weight)
    return result
