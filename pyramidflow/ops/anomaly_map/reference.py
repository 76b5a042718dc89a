"""The anomaly map in plain PyTorch: the oracle."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from pyramidflow.ops.allocation import dense
from pyramidflow.ops.anomaly_map.compared import Compared
from pyramidflow.ops.oracle import gradients
from pyramidflow.ops.pyramid.reference import pyramid_merge


def anomaly_map(compared: Compared) -> Tensor:
    """Composition of the least channel means of ``|z_d − z̄_d − m_d| · w_d`` around each pixel."""
    latents, template, inverse_spread, shift, tolerance = compared
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
    return composed.squeeze(1).to(latents[0].dtype).contiguous()  # [B, h, w]


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    """Gradient of every latent level."""
    grads = gradients(lambda *z: anomaly_map(Compared(z, template)), latents, grad_map)
    return [dense(grad, like=z) for grad, z in zip(grads, latents, strict=True)]


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
