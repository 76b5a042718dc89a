"""Launches of the kernels at the two ends: camera pixels to input, latents to the map."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.backend_cuda.compiled import TYPES, call, kind
from pyramidflow.ops.backend_cuda.pyramid import pyramid_up_backward

_PIXEL_TYPES = {torch.uint8: 0, torch.uint16: 1}


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    image = image.contiguous()
    batch, height, width, channels = image.shape
    out = allocation.empty((batch, channels, height, width), like=image, dtype=dtype)
    call(
        "normalize_image",
        image,
        mean.float().contiguous(),
        std.float().contiguous(),
        out,
        batch,
        height * width,
        _PIXEL_TYPES[image.dtype],
        TYPES[dtype],
    )
    return out


def anomaly_map(
    latents: Sequence[Tensor],
    template: Sequence[Tensor],
    inverse_spread: Sequence[Tensor] | None = None,
    shift: Sequence[Tensor] | None = None,
    tolerance: int = 0,
) -> Tensor:
    """Composition of the channel means of the contrast, coarsest level first."""
    coarse: Tensor | None = None
    for level in reversed(range(len(latents))):
        z = dense(latents[level], like=latents[level])
        mean = dense(template[level], like=z)
        batch, channels, height, width = z.shape
        out_dtype = z.dtype if level == 0 else torch.float32
        out = allocation.empty((batch, height, width), like=z, dtype=out_dtype)
        type_code, layout = kind(z)
        call(
            "anomaly_map",
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
        out = allocation.empty(z.shape, like=z)
        batch = (z.shape[0], mean.shape[0])
        call("anomaly_map_backward", grad, z, mean, out, *batch, *z.shape[1:], *kind(z))
        gradients.append(out)
    return gradients
