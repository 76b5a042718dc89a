"""The anomaly map on a GPU, by the kernels of ``csrc/cuda``."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.anomaly_map.compared import Compared
from pyramidflow.ops.libraries.cuda import TYPES, kernel, kind
from pyramidflow.ops.pyramid.cuda import pyramid_up_backward


@kernel("anomaly_map")
def _anomaly_map(
    latent: Tensor,
    mean: Tensor,
    inverse_spread: Tensor | None,
    shift: Tensor | None,
    coarse: Tensor | None,
    out: Tensor,
    batch: int,
    template_batch: int,
    channels: int,
    height: int,
    width: int,
    tolerance: int,
    type: int,
    out_type: int,
    channels_last: int,
) -> None: ...


@kernel("anomaly_map_backward")
def _anomaly_map_backward(
    grad: Tensor,
    latent: Tensor,
    mean: Tensor,
    grad_latent: Tensor,
    batch: int,
    template_batch: int,
    channels: int,
    height: int,
    width: int,
    type: int,
    channels_last: int,
) -> None: ...


def anomaly_map(compared: Compared) -> Tensor:
    """Composition of the channel means of the contrast, coarsest level first."""
    latents, template, inverse_spread, shift, tolerance = compared
    coarse: Tensor | None = None
    for level in reversed(range(len(latents))):
        z = dense(latents[level], like=latents[level])
        mean = dense(template[level], like=z)
        batch, channels, height, width = z.shape
        out_dtype = z.dtype if level == 0 else torch.float32
        out = allocation.empty((batch, height, width), like=z, dtype=out_dtype)
        type_code, layout = kind(z)
        _anomaly_map(
            z,
            mean,
            None if inverse_spread is None else dense(inverse_spread[level], like=z),
            None if shift is None else shift[level].float().contiguous(),
            coarse,
            out,
            batch,
            mean.shape[0],
            channels,
            height,
            width,
            tolerance,
            type_code,
            TYPES[out_dtype],
            layout,
        )
        coarse = out
    return out


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    """Gradient of every latent level."""
    grad = grad_map.float().unsqueeze(1).contiguous()  # [B, 1, h, w]
    gradients = []
    for level, latent in enumerate(latents):
        if level > 0:
            grad = pyramid_up_backward(grad)
        z = dense(latent, like=latent)
        mean = dense(template[level], like=z)
        batch, channels, height, width = z.shape
        out = allocation.empty(z.shape, like=z)
        _anomaly_map_backward(
            grad, z, mean, out, batch, len(mean), channels, height, width, *kind(z)
        )
        gradients.append(out)
    return gradients
