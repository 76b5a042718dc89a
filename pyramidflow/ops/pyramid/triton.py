"""The pyramid by Triton's kernels."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.pyramid.schema import coarse_shape

if TYPE_CHECKING:  # a checkout has the kernels beside the package
    from kernels import pyramid_down as nearest
    from kernels import pyramid_down_max as largest
    from kernels import pyramid_up as upwards
else:
    from pyramidflow.kernels import pyramid_down as nearest
    from pyramidflow.kernels import pyramid_down_max as largest
    from pyramidflow.kernels import pyramid_up as upwards


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    size = coarse_shape(x)
    y = allocation.empty(size, like=x)
    index = allocation.empty(size if reduction == "max" else (0,), like=x, dtype=torch.uint8)
    if not y.numel():
        return y, index
    if reduction == "max":
        largest.pyramid_down_max_forward(x, y, index)
    else:
        nearest.pyramid_down_forward(x, y)
    return y, index


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Gᵀ`` of the gradients, put back where their pixels were taken from."""
    grad_x = allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)
    if not grad_x.numel():
        return grad_x
    if reduction == "max":
        largest.pyramid_down_max_backward(grad_y, index, grad_x)
    else:
        nearest.pyramid_down_backward(grad_y, grad_x)
    return grad_x


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    return pyramid_up(coarse, fine, -1.0, fine.dtype)


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    return pyramid_up(coarse, residual, 1.0, residual.dtype)


def pyramid_up(coarse: Tensor, fine: Tensor, sign: float, dtype: torch.dtype) -> Tensor:
    """``fine + sign · U(coarse)``, of type ``dtype``."""
    out = allocation.empty(fine.shape, like=fine, dtype=dtype)
    if out.numel():
        upwards.pyramid_up_forward(coarse, fine, out, sign)
    return out


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    grad_coarse = allocation.empty(coarse_shape(grad), like=grad)
    if grad_coarse.numel():
        upwards.pyramid_up_backward(grad, grad_coarse)
    return grad_coarse
