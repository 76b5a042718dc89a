"""Checks of the pyramid's rows."""

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.ops.checks.common import (
    check_choice,
    check_level,
    check_operands,
    check_shape,
    half,
)


def pyramid_down(x: Tensor, reduction: str) -> None:
    """Of a level and its reduction."""
    check_operands(x=x)
    check_level("x", x)
    check_choice("reduction", reduction, ("nearest", "max"))


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> None:
    """Of a gradient, and of the places that its pixels were taken from."""
    check_operands(grad_y=grad_y)
    check_level("grad_y", grad_y)
    check_choice("reduction", reduction, ("nearest", "max"))
    if tuple(grad_y.shape[2:]) != half((height, width)):
        raise InputError(
            f"grad_y has shape {list(grad_y.shape)}, but the level has [{height}, {width}] pixels: "
            f"give a level of {list(half((height, width)))}."
        )
    if reduction == "max":
        if index.dtype != torch.uint8 or index.device != grad_y.device:
            raise InputError(
                f"index has elements of type {index.dtype} on {str(index.device)!r}: give uint8 on "
                f"{str(grad_y.device)!r}, where grad_y is."
            )
        check_shape("index", index, grad_y.shape, "grad_y", grad_y.shape)


def pyramid_residual(fine: Tensor, coarse: Tensor) -> None:
    """Of two neighbouring levels."""
    _check_neighbours("fine", fine, coarse)


def pyramid_merge(coarse: Tensor, residual: Tensor) -> None:
    """Of two neighbouring levels."""
    _check_neighbours("residual", residual, coarse)


def pyramid_up_backward(grad: Tensor) -> None:
    """Of the gradient of a level."""
    check_operands(grad=grad)
    check_level("grad", grad)


def _check_neighbours(name: str, fine: Tensor, coarse: Tensor) -> None:
    check_operands(**{name: fine, "coarse": coarse})
    check_level(name, fine)
    expected = (*fine.shape[:2], *half(fine.shape[2:]))
    check_shape("coarse", coarse, expected, name, fine.shape)
