"""The pyramid by Triton's kernels."""

import torch
from torch import Tensor

from pyramidflow import kernels
from pyramidflow.ops import allocation
from pyramidflow.ops.backend.launch import device_of, strip_grid
from pyramidflow.ops.pyramid.schema import coarse_shape


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    size = coarse_shape(x)
    y = allocation.empty(size, like=x)
    index = allocation.empty(size if reduction == "max" else (0,), like=x, dtype=torch.uint8)
    if not y.numel():
        return y, index
    sizes = (x.shape[1], *x.shape[2:], *size[2:])
    with device_of(x):
        if reduction == "max":
            kernels.pyramid_down_max.pyramid_down_max_forward_kernel[strip_grid(size)](
                x, y, index, x.stride(), y.stride(), index.stride(), *sizes
            )
        else:
            kernels.pyramid_down.pyramid_down_forward_kernel[strip_grid(size)](
                x, y, x.stride(), y.stride(), *sizes
            )
    return y, index


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Gᵀ`` of the gradients, put back where their pixels were taken from."""
    grad_x = allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)
    if not grad_x.numel():
        return grad_x
    grid = strip_grid(grad_y.shape)
    sizes = (grad_y.shape[1], height, width, *grad_y.shape[2:])
    with device_of(grad_y):
        if reduction == "max":
            kernels.pyramid_down_max.pyramid_down_max_backward_kernel[grid](
                grad_y, index, grad_x, grad_y.stride(), index.stride(), grad_x.stride(), *sizes
            )
        else:
            kernels.pyramid_down.pyramid_down_backward_kernel[grid](
                grad_y, grad_x, grad_y.stride(), grad_x.stride(), *sizes
            )
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
    if not out.numel():
        return out
    with device_of(fine):
        kernels.pyramid_up.pyramid_up_forward_kernel[strip_grid(coarse.shape)](
            coarse,
            fine,
            out,
            coarse.stride(),
            fine.stride(),
            out.stride(),
            *fine.shape[1:],
            *coarse.shape[2:],
            SIGN=sign,
        )
    return out


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    size = coarse_shape(grad)
    grad_coarse = allocation.empty(size, like=grad)
    if not grad_coarse.numel():
        return grad_coarse
    with device_of(grad):
        kernels.pyramid_up.pyramid_up_backward_kernel[strip_grid(size)](
            grad, grad_coarse, grad.stride(), grad_coarse.stride(), *grad.shape[1:], *size[2:]
        )
    return grad_coarse
