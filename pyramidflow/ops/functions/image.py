"""The two ends: camera pixels to network input, latents to the anomaly map."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from pyramidflow.ops import checks
from pyramidflow.ops.functions.promotion import promoted
from pyramidflow.ops.registry.op import NAMESPACE_OPS


def normalize_image(
    image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Turn camera pixels into network input: ``(image / full scale − mean) / std``.

    Args:
        image: ``[B, H, W, 3]``, uint8 or uint16; full scale is 255 or 65535.
        mean: ``[3]``, of the scaled channels.
        std: ``[3]``, of the scaled channels.
        dtype: floating type of the result.

    Returns:
        ``[B, 3, H, W]`` of type ``dtype``.

    Raises:
        InputError: the image is not ``[B, H, W, 3]`` of uint8 or uint16 with pixels, mean or std
            is not ``[3]``, or they are on several devices.
    """
    checks.image.normalize_image(image, mean, std, dtype)
    return cast(Tensor, NAMESPACE_OPS.normalize_image(image, mean, std, dtype))


def anomaly_map(latents: Sequence[Tensor], template: Sequence[Tensor]) -> Tensor:
    """Contrast a latent pyramid with its template in full resolution.

    ``map = mean over channels of compose(|z_d − z̄_d|)``. Composition is linear and acts on each
    channel alone, so the mean is taken first and one channel is composed.

    Args:
        latents: levels ``[B, C, h_d, w_d]``, finest first.
        template: levels ``[1 or B, C, h_d, w_d]``, finest first.

    Returns:
        ``[B, h_0, w_0]``.

    Raises:
        InputError: the latents are not neighbouring levels of one pyramid, or the template
            differs from them in levels, sizes or device.

    Source: paper section 3.4; supplement section 1.2 for the composition.
    """
    checks.image.anomaly_map(latents, template)
    tensors = promoted(*latents, *template)
    levels = len(latents)
    return cast(Tensor, NAMESPACE_OPS.anomaly_map(tensors[:levels], tensors[levels:]))
