"""The normalisation on the CPU, by the kernels of ``csrc/cpu``."""

import torch
from torch import Tensor

from pyramidflow.ops.libraries.cpu import function


@function("normalize_uint8")
def _normalize_uint8(
    image: Tensor, mean: Tensor, std: Tensor, out: Tensor, batch: int, pixels: int
) -> None: ...


@function("normalize_uint16")
def _normalize_uint16(
    image: Tensor, mean: Tensor, std: Tensor, out: Tensor, batch: int, pixels: int
) -> None: ...


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    image = image.contiguous()
    batch, height, width, channels = image.shape
    out = torch.empty(batch, channels, height, width, dtype=dtype)
    normalize = _normalize_uint8 if image.dtype == torch.uint8 else _normalize_uint16
    mean, std = (v.to(torch.float32).contiguous() for v in (mean, std))
    normalize(image, mean, std, out, batch, height * width)
    return out
