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
from pyramidflow.settings import shown

MOST_TOLERANCE = 3
"""Pixels of a level: time grows with the square."""


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


def anomaly_map(
    latents: Sequence[Tensor],
    template: Sequence[Tensor],
    inverse_spread: Sequence[Tensor] | None = None,
    shift: Sequence[Tensor] | None = None,
    tolerance: int = 0,
) -> None:
    """Of a pyramid of latents, its template, and what else it is compared with."""
    if not isinstance(tolerance, int) or not 0 <= tolerance <= MOST_TOLERANCE:
        raise InputError(
            f"tolerance is {shown(tolerance)}: give a whole number from 0 to {MOST_TOLERANCE}."
        )
    pyramids = {"latents": latents, "template": template}
    optional = {"inverse spread": inverse_spread, "shift": shift}
    pyramids.update({name: levels for name, levels in optional.items() if levels is not None})
    for name, levels in pyramids.items():
        if not isinstance(levels, (list, tuple)):
            raise InputError(
                f"{name} is of type {type(levels).__name__}: give a list of levels, finest first."
            )
        if len(latents) != len(levels) or not latents:
            raise InputError(
                f"the latent pyramid has {len(latents)} levels and the {name} {len(levels)}: "
                "both need the same number, one at least."
            )
    check_operands(
        **{
            f"level {d} of the {name}": x
            for name, levels in pyramids.items()
            for d, x in enumerate(levels)
        }
    )
    for level, z in enumerate(latents):
        name = f"level {level} of the latents"
        check_level(name, z)
        if level > 0:
            finer = latents[level - 1].shape
            expected = (*finer[:2], *half(finer[2:]))
            check_shape(name, z, expected, f"level {level - 1}", finer)
        _check_template(level, template[level], z)
        if inverse_spread is not None:
            operand, size = f"level {level} of the inverse spread", (1, *z.shape[1:])
            check_shape(operand, inverse_spread[level], size, name, z.shape)
        if shift is not None:
            operand, size = f"level {level} of the shift", (*z.shape[:2], 1, 1)
            check_shape(operand, shift[level], size, name, z.shape)


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
