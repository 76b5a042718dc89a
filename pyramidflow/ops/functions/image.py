"""The two ends: camera pixels to network input, latents to the anomaly map."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops.functions.checks import check_feature_map, promoted
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
        InputError: the image is not ``[B, H, W, 3]`` of uint8 or uint16.
    """
    if image.dim() != 4 or image.shape[-1] != 3 or image.dtype not in (torch.uint8, torch.uint16):
        raise InputError(
            f"the image has shape {list(image.shape)} and type {image.dtype}: "
            "give [B, H, W, 3] of uint8 or uint16."
        )
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
        InputError: the two pyramids differ in levels or sizes.

    Source: paper section 3.4; supplement section 1.2 for the composition.
    """
    if len(latents) != len(template) or not latents:
        raise InputError(
            f"the latent pyramid has {len(latents)} levels and the template {len(template)}: "
            "both need the same number, one at least."
        )
    for level, (z, mean) in enumerate(zip(latents, template, strict=True)):
        check_feature_map(f"latent level {level}", z)
        if mean.shape[1:] != z.shape[1:] or mean.shape[0] not in (1, z.shape[0]):
            raise InputError(
                f"level {level} of the template has shape {list(mean.shape)}, but the latents have "
                f"{list(z.shape)}: use a template made at the same image size."
            )
    tensors = promoted(*latents, *template)
    levels = len(latents)
    return cast(Tensor, NAMESPACE_OPS.anomaly_map(tensors[:levels], tensors[levels:]))
