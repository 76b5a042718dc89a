"""Where the maximum of each 2×2 cell is, as far as float32 can tell."""

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.ops.pyramid.reference import binomial_filter

ROUNDING = 1e-6
"""Of the largest pixel: more than two filtered values in float32 are off by, together."""


def assert_same_places(x: Tensor, ours: Tensor, exact: Tensor) -> None:
    """Compare the places that ``pyramid_down`` found in ``x`` with the oracle's in float64.

    They may differ only where rounding decides: both in the image, the oracle's value larger, but
    by no more than :data:`ROUNDING`. Values that are equal in float64 leave no choice.
    """
    differ = ours != exact
    if not differ.any():
        return
    blurred = binomial_filter(x.double())

    def spread(values: Tensor, places: Tensor) -> Tensor:
        cells = torch.zeros(*places.shape[:2], 2 * places.shape[2], 2 * places.shape[3])
        cells = cells.to(values)
        for place in range(4):
            cells[..., place // 2 :: 2, place % 2 :: 2] = values * (places == place)
        return cells

    def value(places: Tensor) -> Tensor:
        ones = torch.ones_like(places, dtype=torch.float64)
        height, width = x.shape[-2:]
        taken = spread(ones, places)[..., :height, :width]
        filled, values = (
            functional.avg_pool2d(a, 2, ceil_mode=True, divisor_override=1)
            for a in (taken, taken * blurred)
        )
        assert torch.equal(filled, ones), "a place is outside the image"
        return values

    gap = (value(exact) - value(ours))[differ]
    assert ((gap > 0) & (gap <= ROUNDING * x.double().abs().max())).all(), gap
