"""The invertible 1×1 convolution: it mixes the channels of every pixel."""

from typing import cast

from torch import Tensor

from pyramidflow.ops.conv1x1 import schema
from pyramidflow.ops.op import NAMESPACE_OPS
from pyramidflow.ops.promotion import promoted

__all__ = ["invertible_conv1x1"]


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
    schema.check_invertible_conv1x1(y, weight)
    y, weight = promoted(y, weight)
    return cast(Tensor, NAMESPACE_OPS.invertible_conv1x1(y, weight))
