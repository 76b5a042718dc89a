"""The pyramid on the CPU, by ``csrc/pyramid``; ``…_into`` writes into given memory."""

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.libraries.cpu import Image, function, image_of
from pyramidflow.ops.pyramid.schema import coarse_shape


@function("pyramid_down")
def pyramid_down_into(x: Tensor, y: Tensor, fine: Image) -> None:
    """``y = D(x)``, the nearest pixel of each cell."""


@function("pyramid_down_backward")
def pyramid_down_backward_into(grad_y: Tensor, grad_x: Tensor, fine: Image) -> None:
    """``grad_x = Dᵀ grad_y``."""


@function("pyramid_down_max")
def pyramid_down_max_into(x: Tensor, y: Tensor, index: Tensor, fine: Image) -> None:
    """``y = D(x)``, the largest pixel of each cell, and its place."""


@function("pyramid_down_max_backward")
def pyramid_down_max_backward_into(
    grad_y: Tensor, index: Tensor, grad_x: Tensor, fine: Image
) -> None:
    """``grad_x = Gᵀ`` of the gradients at the places of their maxima."""


@function("pyramid_residual")
def pyramid_residual_into(fine_level: Tensor, coarse: Tensor, out: Tensor, fine: Image) -> None:
    """``out = fine_level − U(coarse)``."""


@function("pyramid_merge")
def pyramid_merge_into(coarse: Tensor, residual: Tensor, out: Tensor, fine: Image) -> None:
    """``out = U(coarse) + residual``; ``out`` may be ``residual``."""


@function("pyramid_up_backward")
def pyramid_up_backward_into(grad: Tensor, grad_coarse: Tensor, fine: Image) -> None:
    """``grad_coarse = Uᵀ grad``."""


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    x = dense(x, like=x)
    size = coarse_shape(x)
    y = allocation.empty(size, like=x)
    if reduction == "nearest":
        pyramid_down_into(x, y, image_of(x))
        return y, allocation.empty((0,), like=x, dtype=torch.uint8)
    index = allocation.empty(size, like=x, dtype=torch.uint8)
    pyramid_down_max_into(x, y, index, image_of(x))
    return y, index


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Dᵀ grad_y``."""
    grad_y = dense(grad_y, like=grad_y)
    grad_x = allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)
    if reduction == "nearest":
        pyramid_down_backward_into(grad_y, grad_x, image_of(grad_x))
    else:
        index = dense(index, like=grad_y)
        pyramid_down_max_backward_into(grad_y, index, grad_x, image_of(grad_x))
    return grad_x


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    fine = dense(fine, like=fine)
    out = allocation.empty(fine.shape, like=fine)
    pyramid_residual_into(fine, dense(coarse, like=fine), out, image_of(fine))
    return out


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    residual = dense(residual, like=residual)
    out = allocation.empty(residual.shape, like=residual)
    pyramid_merge_into(dense(coarse, like=residual), residual, out, image_of(residual))
    return out


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    grad = dense(grad, like=grad)
    grad_coarse = allocation.empty(coarse_shape(grad), like=grad)
    pyramid_up_backward_into(grad, grad_coarse, image_of(grad))
    return grad_coarse
