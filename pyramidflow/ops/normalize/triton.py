"""The normalisation by Triton's kernels."""

import torch
from torch import Tensor

from pyramidflow import kernels
from pyramidflow.ops.backend.launch import device_of, tile_count


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    batch, height, width, channels = image.shape
    out = torch.empty((batch, channels, height, width), dtype=dtype, device=image.device)
    if not out.numel():
        return out
    with device_of(image):
        kernels.normalize.normalize_image_forward_kernel[
            lambda blocks: (batch * tile_count(height * width, blocks["BLOCK_P"]),)
        ](
            image,
            mean.contiguous(),
            std.contiguous(),
            out,
            image.stride(),
            height,
            width,
            float(torch.iinfo(image.dtype).max),
        )
    return out
