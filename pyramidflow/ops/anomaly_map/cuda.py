"""The anomaly map on a GPU, by the kernels of ``csrc/anomaly_map``."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.anomaly_map.compared import Compared
from pyramidflow.ops.libraries.cuda import TYPES, Level, kernel, level_of
from pyramidflow.ops.pyramid.compiled import pyramid_up_backward


@kernel("anomaly_map")
def _anomaly_map(
    latent: Tensor,
    mean: Tensor,
    inverse_spread: Tensor | None,
    shift: Tensor | None,
    coarse: Tensor | None,
    out: Tensor,
    level: Level,
    template_batch: int,
    tolerance: int,
    out_type: int,
) -> None: ...


@kernel("anomaly_map_backward")
def _anomaly_map_backward(
    grad: Tensor,
    latent: Tensor,
    mean: Tensor,
    grad_latent: Tensor,
    level: Level,
    template_batch: int,
) -> None: ...


def anomaly_map(compared: Compared) -> Tensor:
    """Composition of the channel means of the contrast, coarsest level first."""
    latents, template, inverse_spread, shift, tolerance = compared
    coarse: Tensor | None = None
    for level in reversed(range(len(latents))):
        z = dense(latents[level], like=latents[level])
        mean = dense(template[level], like=z)
        out_dtype = z.dtype if level == 0 else torch.float32
        out = allocation.empty((len(z), *z.shape[2:]), like=z, dtype=out_dtype)
        spread = None if inverse_spread is None else dense(inverse_spread[level], like=z)
        taken = None if shift is None else shift[level].float().contiguous()
        given = (z, mean, spread, taken, coarse)
        _anomaly_map(*given, out, level_of(z), len(mean), tolerance, TYPES[out_dtype])
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
            grad = pyramid_up_backward("cuda", grad)
        z = dense(latent, like=latent)
        mean = dense(template[level], like=z)
        out = allocation.empty(z.shape, like=z)
        _anomaly_map_backward(grad, z, mean, out, level_of(z), len(mean))
        gradients.append(out)
    return gradients
