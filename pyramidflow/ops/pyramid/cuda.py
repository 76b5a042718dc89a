"""The pyramid on a GPU, by the kernels of ``csrc/pyramid``."""

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.libraries.cuda import Level, kernel, level_of
from pyramidflow.ops.pyramid.schema import coarse_shape

_REDUCTIONS = {"nearest": 0, "max": 1}


@kernel("pyramid_down")
def _pyramid_down(x: Tensor, y: Tensor, index: Tensor, fine: Level, reduction: int) -> None: ...


@kernel("pyramid_down_backward")
def _pyramid_down_backward(
    grad_y: Tensor, index: Tensor, grad_x: Tensor, fine: Level, reduction: int
) -> None: ...


@kernel("pyramid_residual")
def _pyramid_residual(fine_level: Tensor, coarse: Tensor, out: Tensor, fine: Level) -> None: ...


@kernel("pyramid_merge")
def _pyramid_merge(coarse: Tensor, residual: Tensor, out: Tensor, fine: Level) -> None: ...


@kernel("pyramid_up_backward")
def _pyramid_up_backward(grad: Tensor, grad_coarse: Tensor, fine: Level) -> None: ...


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    x = dense(x, like=x)
    size = coarse_shape(x)
    y = allocation.empty(size, like=x)
    index = allocation.empty(size if reduction == "max" else (0,), like=x, dtype=torch.uint8)
    _pyramid_down(x, y, index, level_of(x), _REDUCTIONS[reduction])
    return y, index


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Dᵀ grad_y``, or ``Gᵀ`` of the gradients at the places of their maxima."""
    grad_y = dense(grad_y, like=grad_y)
    if reduction == "max":
        index = dense(index, like=grad_y)
    grad_x = allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)
    _pyramid_down_backward(grad_y, index, grad_x, level_of(grad_x), _REDUCTIONS[reduction])
    return grad_x


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    fine = dense(fine, like=fine)
    out = allocation.empty(fine.shape, like=fine)
    _pyramid_residual(fine, dense(coarse, like=fine), out, level_of(fine))
    return out


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    residual = dense(residual, like=residual)
    out = allocation.empty(residual.shape, like=residual)
    _pyramid_merge(dense(coarse, like=residual), residual, out, level_of(residual))
    return out


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    grad = dense(grad, like=grad)
    grad_coarse = allocation.empty(coarse_shape(grad), like=grad)
    _pyramid_up_backward(grad, grad_coarse, level_of(grad))
    return grad_coarse
