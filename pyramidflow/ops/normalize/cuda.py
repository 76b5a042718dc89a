"""The normalisation on a GPU, by the kernels of ``csrc/cuda``."""

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.libraries.cuda import TYPES, kernel

_PIXEL_TYPES = {torch.uint8: 0, torch.uint16: 1}


@kernel("normalize_image")
def _normalize_image(
    image: Tensor,
    mean: Tensor,
    std: Tensor,
    out: Tensor,
    batch: int,
    pixels: int,
    image_type: int,
    type: int,
) -> None: ...


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    image = image.contiguous()
    batch, height, width, channels = image.shape
    out = allocation.empty((batch, channels, height, width), like=image, dtype=dtype)
    _normalize_image(
        image,
        mean.float().contiguous(),
        std.float().contiguous(),
        out,
        batch,
        height * width,
        _PIXEL_TYPES[image.dtype],
        TYPES[dtype],
    )
    return out
