"""The anomaly map by Triton's kernels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyramidflow import kernels
from pyramidflow.ops import allocation
from pyramidflow.ops.anomaly_map.compared import Compared
from pyramidflow.ops.backend.launch import device_of, is_flat, pixel_grid
from pyramidflow.ops.pyramid.triton import pyramid_up, pyramid_up_backward


def anomaly_map(compared: Compared) -> Tensor:
    """Composition of the channel means of the contrast, float32 until the last level."""
    latents, template, inverse_spread, shift, tolerance = compared
    dtype = latents[0].dtype
    composed: Tensor | None = None
    for level in reversed(range(len(latents))):
        contrast = _contrast(
            latents[level],
            template[level],
            None if inverse_spread is None else inverse_spread[level],
            None if shift is None else shift[level],
            tolerance,
        )
        if composed is not None:
            out = dtype if level == 0 else torch.float32
            contrast = pyramid_up(composed, contrast, 1.0, out)
        composed = contrast
    assert composed is not None
    return composed.squeeze(1).to(dtype)  # [B, h, w]


def _contrast(
    z: Tensor,
    template: Tensor,
    inverse_spread: Tensor | None,
    shift: Tensor | None,
    tolerance: int,
) -> Tensor:
    batch, channels, height, width = z.shape
    contrast = allocation.empty((batch, 1, height, width), like=z, dtype=torch.float32)
    contrast = contrast.contiguous()
    if not contrast.numel():
        return contrast
    template = template.expand(batch, -1, -1, -1)
    # A kernel that is compiled without an operand does not read it.
    spread = template if inverse_spread is None else inverse_spread.expand(batch, -1, -1, -1)
    operands = (
        z,
        template,
        spread,
        contrast if shift is None else shift.float().contiguous(),
        contrast,
        z.stride(),
        template.stride(),
        spread.stride(),
        channels,
        height,
        width,
    )
    given = {"HAS_SPREAD": inverse_spread is not None, "HAS_SHIFT": shift is not None}
    with device_of(z):
        if tolerance > 0:
            kernels.anomaly_map.anomaly_map_tolerant_forward_kernel[pixel_grid(z)](
                *operands, tolerance, **given
            )
            return contrast
        kernels.anomaly_map.anomaly_map_forward_kernel[pixel_grid(z)](
            *operands, **given, FLAT=is_flat(z, template, spread)
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
        grad_z = allocation.empty(z.shape, like=z)
        grads.append(grad_z)
        if not z.numel():
            continue
        mean = mean.expand(z.shape)
        with device_of(z):
            kernels.anomaly_map.anomaly_map_backward_kernel[pixel_grid(z)](
                grad,
                z,
                mean,
                grad_z,
                z.stride(),
                mean.stride(),
                grad_z.stride(),
                *z.shape[1:],
                FLAT=is_flat(z, mean, grad_z),
            )
    return grads
