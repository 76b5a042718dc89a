"""Convolutions of neighbouring pixels, with a resizing by 2 on either side."""

from typing import cast

from torch import Tensor

from pyramidflow.ops.convolution import schema
from pyramidflow.ops.convolution.methods import Resampling
from pyramidflow.ops.op import NAMESPACE_OPS
from pyramidflow.ops.promotion import promoted

__all__ = ["Resampling", "conv2d"]


def conv2d(x: Tensor, weight: Tensor, resample: Resampling = "none") -> Tensor:
    """Convolve, zero padding ``k // 2``, with a resizing by 2 on either side if wanted.

    ``y[o] = Σ_i weight[o, i] ⋆ x[i]`` (cross-correlation); with ``"up"`` of the nearest-neighbour
    up-sampled ``x``, with ``"down"`` the rows and columns 0, 2, 4 … of the result. On a CPU the
    convolution is computed in the frequency domain where that is faster (overlap-save tiles of
    ``N × N``); an up-sampling is folded into the weights, and what a down-sampling drops is not
    computed.

    Args:
        x: ``[B, I, H, W]``.
        weight: ``[O, I, k, k]``, ``k`` odd.
        resample: ``"none"``, ``"up"`` or ``"down"``.

    Returns:
        ``[B, O, H, W]``; ``[B, O, 2H, 2W]`` with ``"up"``, ``[B, O, ⌈H/2⌉, ⌈W/2⌉]`` with
        ``"down"``.

    Raises:
        InputError: shapes or devices do not fit, or a choice is unknown.

    Source: model description, section 12; overlap-save convolution.
    """
    schema.check_conv2d(x, weight, resample)
    x, weight = promoted(x, weight)
    return cast(Tensor, NAMESPACE_OPS.conv2d(x, weight, resample))
