"""The oracle: every operation in plain PyTorch, for any device and floating type.

Nothing here is fused or approximated beyond what the formula says; each faster implementation is
proven equal to the function of the same name. Arguments arrive checked (see ``functions``).
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

SOFT_CLAMP_GAIN = 0.636
"""The supplement's approximation of 2/π (Algorithm 1)."""

VOLUME_NORM_DIMS = {
    ("cvn", "sample"): (1,),
    ("cvn", "batch"): (0, 1),
    ("svn", "sample"): (2, 3),
    ("svn", "batch"): (0, 2, 3),
}
"""Dimensions that volume normalisation averages over, by kind and statistics."""


def binomial_filter(x: Tensor) -> Tensor:
    """Filter every channel with the 5×5 binomial kernel, zero padding 2.

    ``G(x) = x ∗ [1 4 6 4 1]ᵀ[1 4 6 4 1] / 256``.
    """
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=x.dtype, device=x.device) / 16
    kernel = torch.outer(row, row).expand(x.shape[1], 1, 5, 5)  # [C, 1, 5, 5]
    return functional.conv2d(x, kernel, padding=2, groups=x.shape[1])


def pyramid_down(x: Tensor, reduction: str) -> Tensor:
    """``D(x)``: filter, then keep one of 2×2 pixels (the first, or the largest)."""
    filtered = binomial_filter(x)
    if reduction == "max":
        return functional.max_pool2d(
            filtered, kernel_size=2, ceil_mode=True
        )  # [B, C, ⌈H/2⌉, ⌈W/2⌉]
    return filtered[..., ::2, ::2]  # [B, C, ⌈H/2⌉, ⌈W/2⌉]


def pyramid_down_max(x: Tensor) -> tuple[Tensor, Tensor]:
    """``D(x)`` by maximum, and its place ``2·dy + dx`` in each 2×2 cell (uint8)."""
    y, flat = functional.max_pool2d(
        binomial_filter(x), kernel_size=2, ceil_mode=True, return_indices=True
    )
    row = flat.div(max(x.shape[-1], 1), rounding_mode="floor")
    column = flat - row * x.shape[-1]
    return y, (2 * (row % 2) + column % 2).to(torch.uint8)


def spread_to_cells(values: Tensor, index: Tensor, height: int, width: int) -> Tensor:
    """Put each value at its place ``2·dy + dx`` of a 2×2 cell, zero elsewhere."""
    spread = values.new_zeros(*values.shape[:2], 2 * values.shape[2], 2 * values.shape[3])
    for dy in range(2):
        for dx in range(2):
            spread[..., dy::2, dx::2] = values * (index == 2 * dy + dx)
    return spread[..., :height, :width]  # [B, C, H, W]


def _pyramid_up(coarse: Tensor, size: Sequence[int]) -> Tensor:
    # By the factor: of an odd size PyTorch rounds it in float32, and of 4565 rows one is another's.
    up = functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
    return binomial_filter(up[..., : size[0], : size[1]])


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    return fine - _pyramid_up(coarse, fine.shape[-2:])


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    return _pyramid_up(coarse, residual.shape[-2:]) + residual


def _log_scale(
    params: Tensor, mean: Tensor | None, volume_norm: str, statistics: str, clamp: float
) -> tuple[Tensor, Tensor]:
    s = clamp * SOFT_CLAMP_GAIN * torch.atan(params / clamp)
    if mean is None and volume_norm == "none":
        mean = s.new_zeros(1, 1, 1, 1)
    elif mean is None:
        mean = s.mean(VOLUME_NORM_DIMS[volume_norm, statistics], keepdim=True)
    return s - mean, mean


def _scale_and_shift(
    size: Sequence[int],
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    s0, t = params.chunk(2, dim=1)  # [B, C, H', W'] each
    s, mean = _log_scale(s0, mean, volume_norm, statistics, clamp)
    if s.shape[-2:] != tuple(size):
        s = functional.interpolate(s, size=tuple(size), mode="nearest")  # [B, C, H, W]
        t = functional.interpolate(t, size=tuple(size), mode="nearest")  # [B, C, H, W]
    return s, t, mean


def _sum_of_samples(s: Tensor) -> Tensor:
    # In float32 at least: the sum over a sample of a million elements leaves float16's range.
    return s.sum((1, 2, 3), dtype=torch.promote_types(s.dtype, torch.float32))  # [B]


def affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``; also the subtracted mean and ``Σ s`` of each sample."""
    s, t, mean = _scale_and_shift(x.shape[-2:], params, mean, volume_norm, statistics, clamp)
    return torch.exp(s) * x + t, mean.detach(), _sum_of_samples(s)


def affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``; also the subtracted mean and ``−Σ s`` of each sample."""
    s, t, mean = _scale_and_shift(y.shape[-2:], params, mean, volume_norm, statistics, clamp)
    return (y - t) * torch.exp(-s), mean.detach(), -_sum_of_samples(s)


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y`` at every pixel."""
    return functional.conv2d(y, weight[:, :, None, None])


def coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``; also the subtracted mean and ``Σ s`` of each sample."""
    y, mean, log_det = affine_coupling(x, params, mean, volume_norm, statistics, clamp)
    return invertible_conv1x1(y, weight), mean, log_det


def conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    resample: str,
    clamp: float,
) -> Tensor:
    """``z = A (exp(s) ⊙ x + t)`` with the parameters ``kernel ∗ hidden``."""
    params = conv2d(hidden, kernel, resample)
    z, _, _ = coupling_conv1x1(x, params, mean, weight, "none", "sample", clamp)
    return z


def anomaly_map(
    latents: Sequence[Tensor],
    template: Sequence[Tensor],
    inverse_spread: Sequence[Tensor] | None = None,
    shift: Sequence[Tensor] | None = None,
    tolerance: int = 0,
) -> Tensor:
    """Composition of the least channel means of ``|z_d − z̄_d − m_d| · w_d`` around each pixel."""
    levels = []
    for d, (z, mean) in enumerate(zip(latents, template, strict=True)):
        weight = None if inverse_spread is None else inverse_spread[d]
        taken = None if shift is None else shift[d]
        if tolerance == 0:
            levels.append(_contrast(z, mean, weight, taken))
        else:
            levels.append(_least_contrast(z, mean, weight, taken, tolerance))
    composed = levels[-1]
    for residual in reversed(levels[:-1]):
        composed = pyramid_merge(composed, residual)
    return composed.squeeze(1).to(latents[0].dtype)  # [B, h, w]


def _contrast(z: Tensor, mean: Tensor, weight: Tensor | None, shift: Tensor | None) -> Tensor:
    difference = z - mean
    if shift is not None:
        difference = difference - shift
    contrast = difference.abs()
    if weight is not None:
        contrast = contrast * weight
    return contrast.mean(1, keepdim=True)  # [B, 1, h, w]


def _least_contrast(
    z: Tensor, mean: Tensor, weight: Tensor | None, shift: Tensor | None, tolerance: int
) -> Tensor:
    height, width = z.shape[2:]
    dtype = torch.promote_types(z.dtype, z.dtype if shift is None else shift.dtype)
    least = z.new_full((len(z), 1, height, width), torch.inf, dtype=dtype)
    steps = range(-tolerance, tolerance + 1)
    for down, right in product(steps, steps):
        rows, other_rows = _overlap(height, down)
        columns, other_columns = _overlap(width, right)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        here, there = (..., rows, columns), (..., other_rows, other_columns)
        spread = None if weight is None else weight[there]
        contrast = _contrast(z[here], mean[there], spread, shift)
        least[here] = torch.minimum(least[here], contrast)
    return least


def _overlap(size: int, step: int) -> tuple[slice, slice]:
    """Pixels along an axis whose neighbour some steps on is there, and these neighbours."""
    first, stop = max(0, -step), min(size, size - step)
    return slice(first, stop), slice(first + step, stop + step)


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``, channels moved to the front."""
    computed = torch.promote_types(dtype, mean.dtype)
    scaled = image.permute(0, 3, 1, 2).to(computed) / torch.iinfo(image.dtype).max  # [B, 3, H, W]
    return ((scaled - mean[:, None, None]) / std[:, None, None]).to(dtype)


def conv2d(x: Tensor, weight: Tensor, resample: str) -> Tensor:
    """Convolution, up-sampled before or down-sampled after."""
    if resample == "up":
        x = functional.interpolate(x, scale_factor=2, mode="nearest")
    y = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return y[:, :, ::2, ::2] if resample == "down" else y
