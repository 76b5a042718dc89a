"""Camera pixels to network input."""

from typing import cast

import torch
from torch import Tensor

from pyramidflow.ops.normalize import schema
from pyramidflow.ops.op import NAMESPACE_OPS

__all__ = ["normalize_image"]


def normalize_image(
    image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Turn camera pixels into network input: ``(image / full scale − mean) / std``.

    Args:
        image: ``[B, H, W, 3]``, uint8 or uint16; full scale is 255 or 65535.
        mean: ``[3]``, of the scaled channels.
        std: ``[3]``, of the scaled channels.
        dtype: floating type of the result.

    Returns:
        ``[B, 3, H, W]`` of type ``dtype``.

    Raises:
        InputError: the image is not ``[B, H, W, 3]`` of uint8 or uint16 with pixels, mean or std
            is not ``[3]``, or they are on several devices.
    """
    schema.check_normalize_image(image, mean, std, dtype)
    return cast(Tensor, NAMESPACE_OPS.normalize_image(image, mean, std, dtype))
