"""The convolutions: of every pixel's channels, and of neighbouring pixels."""

from typing import cast

from torch import Tensor

from pyramidflow.ops import checks
from pyramidflow.ops.convolution.methods import AUTOMATIC, Resampling
from pyramidflow.ops.functions.promotion import promoted
from pyramidflow.ops.registry.op import NAMESPACE_OPS


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """Mix the channels of every pixel: ``z = A y``.

    Args:
        y: ``[B, C, H, W]``.
        weight: ``A [C, C]``.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        InputError: ``y`` is not a floating ``[B, C, H, W]`` tensor with channels and pixels, or
            ``weight`` is not ``[C, C]`` on its device.

    Source: supplement, Algorithm 1 (``InvConv``).
    """
    checks.convolution.invertible_conv1x1(y, weight)
    y, weight = promoted(y, weight)
    return cast(Tensor, NAMESPACE_OPS.invertible_conv1x1(y, weight))


def conv2d(
    x: Tensor, weight: Tensor, resample: Resampling = "none", tile: int | None = None
) -> Tensor:
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
        tile: side ``N`` of the transforms, 8, 12, 16, 20, 24 or 32, above ``k``; 0 for the direct
            convolution; ``None`` leaves the choice to the planner.

    Returns:
        ``[B, O, H, W]``; ``[B, O, 2H, 2W]`` with ``"up"``, ``[B, O, ⌈H/2⌉, ⌈W/2⌉]`` with
        ``"down"``.

    Raises:
        InputError: shapes or devices do not fit, or a choice is unknown.

    Source: model description, section 12; overlap-save convolution.
    """
    checks.convolution.conv2d(x, weight, resample, AUTOMATIC)
    if tile is not None:
        checks.convolution.check_tile(x, weight, resample, tile)
    x, weight = promoted(x, weight)
    chosen = AUTOMATIC if tile is None else tile
    return cast(Tensor, NAMESPACE_OPS.conv2d(x, weight, resample, chosen))
