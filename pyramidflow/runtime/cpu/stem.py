"""First layers that read camera pixels: the lift's 1×1 convolution and a residual network's stem.

The normalisation ``(image / full scale − mean) / std`` is fused in front of each, by the kernels of
``csrc/convolution``.
"""

import torch
from torch import Tensor

from pyramidflow.ops.libraries.cpu import function


def _lift(
    image: Tensor, mean: Tensor, std: Tensor, weight: Tensor, y: Tensor, pixels: int, channels: int
) -> None: ...


_lift_uint8 = function("lift_uint8")(_lift)
_lift_uint16 = function("lift_uint16")(_lift)


def _resnet_stem(
    image: Tensor,
    mean: Tensor,
    std: Tensor,
    weight: Tensor,
    bias: Tensor,
    y: Tensor,
    batch: int,
    height: int,
    width: int,
    channels: int,
) -> None: ...


_resnet_stem_uint8 = function("resnet_stem_uint8")(_resnet_stem)
_resnet_stem_uint16 = function("resnet_stem_uint16")(_resnet_stem)


def lift_into(image: Tensor, mean: Tensor, std: Tensor, weight: Tensor, y: Tensor) -> None:
    """``y = weight · normalised image`` at every pixel.

    Args:
        image: ``[B, H, W, 3]``, uint8 or uint16.
        mean: ``[3]``, of the scaled channels.
        std: ``[3]``, likewise.
        weight: ``[C, 3]`` or ``[C, 3, 1, 1]``, contiguous.
        y: the result ``[B, C, H, W]``, channels-last.
    """
    batch, height, width, _ = image.shape
    run = _lift_uint8 if image.dtype == torch.uint8 else _lift_uint16
    run(image, mean, std, weight, y, batch * height * width, len(weight))


def resnet_stem_into(
    image: Tensor, mean: Tensor, std: Tensor, weight: Tensor, bias: Tensor, y: Tensor
) -> None:
    """``y = maxpool(relu(conv(normalised image) + bias))``, 7×7 with stride 2, then 3×3.

    Args:
        image: ``[B, H, W, 3]``, uint8 or uint16.
        mean: ``[3]``, of the scaled channels.
        std: ``[3]``, likewise.
        weight: ``[C, 3, 7, 7]``, contiguous.
        bias: ``[C]``.
        y: the result ``[B, C, ⌈H/4⌉, ⌈W/4⌉]``, channels-last.
    """
    run = _resnet_stem_uint8 if image.dtype == torch.uint8 else _resnet_stem_uint16
    batch, height, width, _ = image.shape
    run(image, mean, std, weight, bias, y, batch, height, width, len(bias))
