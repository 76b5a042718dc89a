"""The normalisation by the compiled libraries, on the CPU and on a GPU: ``csrc/normalize``."""

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.libraries.both import function
from pyramidflow.ops.libraries.cuda import TYPES

_PIXEL_TYPES = {torch.uint8: 0, torch.uint16: 1}


@function("normalize_image")
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


def normalize_image(
    library: str, image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype
) -> Tensor:
    """``(image / full scale − mean) / std``."""
    image = image.contiguous()
    batch, height, width, channels = image.shape
    out = allocation.empty((batch, channels, height, width), like=image, dtype=dtype)
    mean, std = (v.float().contiguous() for v in (mean, std))
    types = (_PIXEL_TYPES[image.dtype], TYPES[dtype])
    _normalize_image(library, image, mean, std, out, batch, height * width, *types)
    return out
