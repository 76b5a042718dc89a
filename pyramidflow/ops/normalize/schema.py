"""The normalisation of camera pixels."""

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops.checks import (
    FLOATING,
    check_operands,
    check_shape,
    check_size,
    check_tensor,
)
from pyramidflow.ops.op import Op, register
from pyramidflow.ops.samples import BATCH, HEIGHT, WIDTH, Calls, Samples


def check_normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> None:
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


def _fake_normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    batch, height, width, channels = image.shape
    return torch.empty((batch, channels, height, width), dtype=dtype, device=image.device)


def _samples(s: Samples) -> Calls:
    mean, std = s.draw(3), s.draw(3).abs() + 0.1
    return [
        (s.pixels(kind, BATCH, HEIGHT, WIDTH, 3), mean, std, torch.float32)
        for kind in (torch.uint8, torch.uint16)
    ]


register(
    __package__,
    Op(
        "normalize_image(Tensor image, Tensor mean, Tensor std, ScalarType dtype) -> Tensor",
        check=check_normalize_image,
        apart=("mean", "std"),
        fake=_fake_normalize_image,
        samples=_samples,
    ),
)
