"""The normalisation by Triton's kernels."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # a checkout has the kernels beside the package
    from kernels.normalize import normalize_image_forward
else:
    from pyramidflow.kernels.normalize import normalize_image_forward


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    batch, height, width, channels = image.shape
    out = torch.empty((batch, channels, height, width), dtype=dtype, device=image.device)
    if out.numel():
        normalize_image_forward(image, mean.contiguous(), std.contiguous(), out)
    return out
