"""Checks of the rows at the two ends."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops.checks.common import (
    FLOATING,
    check_level,
    check_operands,
    check_shape,
    check_size,
    check_tensor,
    half,
)


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> None:
    """Of camera pixels, and of the mean and deviation of their channels."""
    check_tensor("the image", image)
    if (
        image.dim() != 4
        or image.shape[3] != 3
        or image.shape[1] == 0
        or image.shape[2] == 0
        or image.dtype not in (torch.uint8, torch.uint16)
    ):
        raise InputError(
            f"the image has shape {list(image.shape)} and type {image.dtype}: give [B, H, W, 3] of "
            "uint8 or uint16, with one row and one column at least."
        )
    check_size("the image", image.shape)
    check_operands(mean=mean, std=std)
    check_shape("mean", mean, (3,), "the image", image.shape)
    check_shape("std", std, (3,), "the image", image.shape)
    if mean.device != image.device:
        raise InputError(
            f"mean and std are on {str(mean.device)!r}, but the image is on "
            f"{str(image.device)!r}: move them to one device."
        )
    if dtype not in FLOATING:
        raise InputError(f"dtype is {dtype}: choose float16, bfloat16, float32 or float64.")


def anomaly_map(latents: Sequence[Tensor], template: Sequence[Tensor]) -> None:
    """Of a pyramid of latents and its template."""
    for name, levels in (("latents", latents), ("template", template)):
        if not isinstance(levels, (list, tuple)):
            raise InputError(
                f"{name} is of type {type(levels).__name__}: give a list of levels, finest first."
            )
    if len(latents) != len(template) or not latents:
        raise InputError(
            f"the latent pyramid has {len(latents)} levels and the template {len(template)}: "
            "both need the same number, one at least."
        )
    check_operands(
        **{f"level {d} of the latents": z for d, z in enumerate(latents)},
        **{f"level {d} of the template": mean for d, mean in enumerate(template)},
    )
    for level, z in enumerate(latents):
        name = f"level {level} of the latents"
        check_level(name, z)
        if level > 0:
            finer = latents[level - 1].shape
            expected = (*finer[:2], *half(finer[2:]))
            check_shape(name, z, expected, f"level {level - 1}", finer)
        _check_template(level, template[level], z)


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> None:
    """Of a map's gradient, a pyramid of latents and its template."""
    anomaly_map(latents, template)
    check_operands(grad_map=grad_map, latents=latents[0])
    batch, _, height, width = latents[0].shape
    size = (batch, height, width)
    check_shape("grad_map", grad_map, size, "level 0 of the latents", latents[0].shape)


def _check_template(level: int, mean: Tensor, z: Tensor) -> None:
    if mean.dim() != 4 or mean.shape[1:] != z.shape[1:] or mean.shape[0] not in (1, z.shape[0]):
        raise InputError(
            f"level {level} of the template has shape {list(mean.shape)}, but the latents have "
            f"{list(z.shape)}: use a template made at the same image size."
        )
