"""The normalisation in plain PyTorch: the oracle."""

import torch
from torch import Tensor


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``, channels moved to the front."""
    computed = torch.promote_types(dtype, mean.dtype)
    scaled = image.permute(0, 3, 1, 2).to(computed) / torch.iinfo(image.dtype).max  # [B, 3, H, W]
    return ((scaled - mean[:, None, None]) / std[:, None, None]).to(dtype).contiguous()
