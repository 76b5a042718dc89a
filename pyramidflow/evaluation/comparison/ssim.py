"""Structural similarity of two images at each pixel."""

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
"""For values in [0, 1]."""


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """``((2 μ_x μ_y + c₁)(2 σ_xy + c₂)) / ((μ_x² + μ_y² + c₁)(σ_x² + σ_y² + c₂))``.

    Means, variances and covariance are of a Gaussian window of 11×11 pixels, σ = 1.5; beyond the
    border the image is mirrored.

    Args:
        x: ``[B, C, H, W]``, values in [0, 1], ``H`` and ``W`` at least 6.
        y: likewise.

    Returns:
        ``[B, C, H, W]``, in [−1, 1].

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment", 2004, equation 13.
    """
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x = _blurred(x * x) - mean_x**2
    var_y = _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    return above / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))


def _blurred(image: Tensor) -> Tensor:
    half = WINDOW // 2
    place = torch.arange(-half, half + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-(place**2) / (2 * SIGMA**2))
    channels = image.shape[1]
    row = (weights / weights.sum()).expand(channels, 1, 1, WINDOW)
    padded = functional.pad(image, (half,) * 4, mode="reflect")
    across = functional.conv2d(padded, row, groups=channels)
    return functional.conv2d(across, row.transpose(2, 3), groups=channels)
