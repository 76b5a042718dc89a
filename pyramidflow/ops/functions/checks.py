"""What several operations ask of their arguments."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from pyramidflow.errors import InputError


def promoted(*tensors: Tensor) -> list[Tensor]:
    """The tensors in the type that holds them all."""
    dtype = reduce(torch.promote_types, (x.dtype for x in tensors))
    return [x.to(dtype) for x in tensors]


def check_feature_map(name: str, x: Tensor) -> None:
    """Refuse what is not a floating ``[B, C, H, W]`` tensor."""
    if x.dim() != 4 or not x.is_floating_point():
        raise InputError(
            f"{name} has shape {list(x.shape)} and type {x.dtype}: "
            "give a floating [B, C, H, W] tensor."
        )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of the choices."""
    if value not in choices:
        raise InputError(f"{name} is {value!r}: choose one of {', '.join(choices)}.")


def check_weight(weight: Tensor, y: Tensor) -> None:
    """Refuse a matrix that is not ``[C, C]`` for ``y``'s channels."""
    channels = y.shape[1]
    if weight.shape != (channels, channels):
        raise InputError(
            f"weight has shape {list(weight.shape)}, but the level has {channels} channels: "
            f"give a [{channels}, {channels}] matrix."
        )


def check_mean(mean: Tensor, full: Sequence[int]) -> None:
    """Refuse a mean that does not broadcast to ``full``."""
    if mean.dim() != 4 or any(m not in (1, n) for m, n in zip(mean.shape, full, strict=True)):
        raise InputError(
            f"the mean has shape {list(mean.shape)}, which does not broadcast to {list(full)}: "
            "a model with channel volume normalisation works only at its training's image size."
        )
