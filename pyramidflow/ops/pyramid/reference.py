"""The pyramid in plain PyTorch: the oracle that each faster implementation is proven equal to.

Nothing here is fused or approximated beyond what the formula says, on any device and in any
floating type. The gradients are autograd's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.ops.allocation import dense
from pyramidflow.ops.oracle import gradients, owned
from pyramidflow.ops.pyramid.schema import coarse_shape


def binomial_filter(x: Tensor) -> Tensor:
    """Filter every channel with the 5×5 binomial kernel, zero padding 2.

    ``G(x) = x ∗ [1 4 6 4 1]ᵀ[1 4 6 4 1] / 256``.
    """
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=x.dtype, device=x.device) / 16
    kernel = torch.outer(row, row).expand(x.shape[1], 1, 5, 5)  # [C, 1, 5, 5]
    return functional.conv2d(x, kernel, padding=2, groups=x.shape[1])


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``: filter, then keep one of 2×2 pixels, the first, or the largest and its place."""
    if reduction == "max":
        y, index = _down_max(x)
        return dense(y, like=x), dense(index, like=x)
    return owned(_down_nearest(x), like=x), x.new_empty(0, dtype=torch.uint8)


def _down_nearest(x: Tensor) -> Tensor:
    return binomial_filter(x)[..., ::2, ::2]  # [B, C, ⌈H/2⌉, ⌈W/2⌉]


def _down_max(x: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum, and its place ``2·dy + dx`` in each 2×2 cell (uint8)."""
    y, flat = functional.max_pool2d(
        binomial_filter(x), kernel_size=2, ceil_mode=True, return_indices=True
    )
    row = flat.div(max(x.shape[-1], 1), rounding_mode="floor")
    column = flat - row * x.shape[-1]
    return y, (2 * (row % 2) + column % 2).to(torch.uint8)


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Gᵀ`` of the gradients, put back where their pixels were taken from."""
    zeros = grad_y.new_zeros((*grad_y.shape[:2], height, width))
    if reduction == "max":
        spread = _spread_to_cells(grad_y, index, height, width)
        (grad_x,) = gradients(binomial_filter, [zeros], spread)
    else:
        (grad_x,) = gradients(_down_nearest, [zeros], grad_y)
    return dense(grad_x, like=grad_y)


def _spread_to_cells(values: Tensor, index: Tensor, height: int, width: int) -> Tensor:
    """Put each value at its place ``2·dy + dx`` of a 2×2 cell, zero elsewhere."""
    spread = values.new_zeros(*values.shape[:2], 2 * values.shape[2], 2 * values.shape[3])
    for dy in range(2):
        for dx in range(2):
            spread[..., dy::2, dx::2] = values * (index == 2 * dy + dx)
    return spread[..., :height, :width]  # [B, C, H, W]


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    return dense(fine - _up(coarse, fine.shape[-2:]), like=fine)


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    return dense(_up(coarse, residual.shape[-2:]) + residual, like=residual)


def _up(coarse: Tensor, size: Sequence[int]) -> Tensor:
    # By the factor: of an odd size PyTorch rounds it in float32, and of 4565 rows one is another's.
    up = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return binomial_filter(up[..., : size[0], : size[1]])


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    zeros = grad.new_zeros(coarse_shape(grad))
    (grad_coarse,) = gradients(lambda coarse: _up(coarse, grad.shape[-2:]), [zeros], grad)
    return dense(grad_coarse, like=grad)
