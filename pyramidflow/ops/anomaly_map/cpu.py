"""The anomaly map on the CPU, by ``csrc/anomaly_map``; ``…_into`` writes into given memory."""

from collections.abc import Sequence

from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.anomaly_map.compared import Compared
from pyramidflow.ops.libraries.cpu import Image, function, image_of
from pyramidflow.ops.pyramid.compiled import pyramid_merge, pyramid_up_backward


@function("anomaly_level")
def anomaly_level_into(
    latent: Tensor,
    mean: Tensor,
    inverse_spread: Tensor | None,
    shift: Tensor | None,
    level: Tensor,
    image: Image,
    mean_batch: int,
    tolerance: int,
) -> None:
    """``level [B, h, w]`` = mean over channels of the contrast of one level, see the operation."""


@function("anomaly_level_backward")
def _anomaly_level_backward(
    grad_level: Tensor,
    latent: Tensor,
    mean: Tensor,
    grad_latent: Tensor,
    image: Image,
    mean_batch: int,
) -> None: ...


@function("pixel_means")
def pixel_means_into(x: Tensor, mean: Tensor, image: Image) -> None:
    """``mean [B, C]`` of each channel's pixels."""


def anomaly_map(compared: Compared) -> Tensor:
    """Composition of the channel means of the contrast, the least ones around each pixel."""
    latents, template, inverse_spread, shift, tolerance = compared
    levels = []
    for d, (latent, mean) in enumerate(zip(latents, template, strict=True)):
        z = dense(latent, like=latent)
        spread = None if inverse_spread is None else dense(inverse_spread[d], like=z)
        taken = None if shift is None else shift[d].to(z.dtype).contiguous()
        batch, _, height, width = z.shape
        level = allocation.empty((batch, height, width), like=z).unsqueeze(1)  # [B, 1, h_d, w_d]
        given = (z, dense(mean, like=z), spread, taken)
        anomaly_level_into(*given, level, image_of(z), mean.shape[0], tolerance)
        levels.append(level)
    composed = levels[-1]
    for residual in reversed(levels[:-1]):
        composed = pyramid_merge("cpu", composed, residual)
    return composed.squeeze(1)  # [B, h, w]


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    """Gradient of every latent level."""
    grad_level = grad_map.contiguous().unsqueeze(1)  # [B, 1, h, w]
    grads = []
    for level, (latent, mean) in enumerate(zip(latents, template, strict=True)):
        if level > 0:
            grad_level = pyramid_up_backward("cpu", grad_level)  # [B, 1, h_d, w_d]
        z = dense(latent, like=latent)
        grad = allocation.empty(z.shape, like=z)
        _anomaly_level_backward(
            grad_level, z, dense(mean, like=z), grad, image_of(z), mean.shape[0]
        )
        grads.append(grad)
    return grads
