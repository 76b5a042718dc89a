"""The anomaly map by Triton's kernels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.anomaly_map.compared import Compared
from pyramidflow.ops.pyramid.triton import pyramid_up, pyramid_up_backward

if TYPE_CHECKING:  # a checkout has the kernels beside the package
    from kernels import anomaly_map as kernels
else:
    from pyramidflow.kernels import anomaly_map as kernels


def anomaly_map(compared: Compared) -> Tensor:
    """Composition of the channel means of the contrast, float32 until the last level."""
    dtype = compared.latents[0].dtype
    composed: Tensor | None = None
    for level in reversed(range(len(compared.latents))):
        contrast = _contrast(compared, level)
        if composed is not None:
            out = dtype if level == 0 else torch.float32
            contrast = pyramid_up(composed, contrast, 1.0, out)
        composed = contrast
    assert composed is not None
    return composed.squeeze(1).to(dtype)  # [B, h, w]


def _contrast(compared: Compared, level: int) -> Tensor:
    latents, template, inverse_spread, shift, tolerance = compared
    z = latents[level]
    batch, _, height, width = z.shape
    contrast = allocation.empty((batch, 1, height, width), like=z, dtype=torch.float32)
    contrast = contrast.contiguous()
    if contrast.numel():
        kernels.anomaly_map_forward(
            z,
            template[level].expand(z.shape),
            None if inverse_spread is None else inverse_spread[level].expand(z.shape),
            None if shift is None else shift[level].float().contiguous(),
            contrast,
            tolerance,
        )
    return contrast


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    """Gradient of every latent level, the map's brought down by ``Uᵀ`` in float32."""
    grad = grad_map.unsqueeze(1).to(torch.float32).contiguous()  # [B, 1, h, w]
    grads: list[Tensor] = []
    for z, mean in zip(latents, template, strict=True):
        if grads:
            grad = pyramid_up_backward(grad)  # [B, 1, h_d, w_d]
        grads.append(allocation.empty(z.shape, like=z))
        if z.numel():
            kernels.anomaly_map_backward(grad, z, mean.expand(z.shape), grads[-1])
    return grads
