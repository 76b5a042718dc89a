"""Launches of the pyramid's kernels."""

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.backend_cuda.compiled import call, kind

_REDUCTIONS = {"nearest": 0, "max": 1}


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    x = dense(x, like=x)
    half = (*x.shape[:2], (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2)
    y = allocation.empty(half, like=x)
    index = allocation.empty(half if reduction == "max" else (0,), like=x, dtype=torch.uint8)
    call("pyramid_down", x, y, index, *x.shape, _REDUCTIONS[reduction], *kind(x))
    return y, index


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Dᵀ grad_y``, or ``Gᵀ`` of the gradients at the places of their maxima."""
    grad_y = dense(grad_y, like=grad_y)
    if reduction == "max":
        index = dense(index, like=grad_y)
    grad_x = allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)
    reduction_code = _REDUCTIONS[reduction]
    call(
        "pyramid_down_backward",
        grad_y,
        index,
        grad_x,
        *grad_x.shape,
        reduction_code,
        *kind(grad_y),
    )
    return grad_x


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    fine = dense(fine, like=fine)
    out = allocation.empty(fine.shape, like=fine)
    call("pyramid_residual", fine, dense(coarse, like=fine), out, *fine.shape, *kind(fine))
    return out


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    residual = dense(residual, like=residual)
    out = allocation.empty(residual.shape, like=residual)
    coarse = dense(coarse, like=residual)
    call("pyramid_merge", coarse, residual, out, *residual.shape, *kind(residual))
    return out


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    grad = dense(grad, like=grad)
    half = (*grad.shape[:2], (grad.shape[2] + 1) // 2, (grad.shape[3] + 1) // 2)
    grad_coarse = allocation.empty(half, like=grad)
    call("pyramid_up_backward", grad, grad_coarse, *grad.shape, *kind(grad))
    return grad_coarse
