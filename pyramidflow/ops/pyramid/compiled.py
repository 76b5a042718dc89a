"""The pyramid by the compiled libraries, on the CPU and on a GPU: ``csrc/pyramid``.

``…_into`` writes into given memory; what one library alone declares stands in its own file.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.libraries.both import function, sizes_of
from pyramidflow.ops.libraries.declaration import Sizes
from pyramidflow.ops.pyramid import cpu, cuda
from pyramidflow.ops.pyramid.schema import coarse_shape

_DOWN: dict[str, Callable[..., None]] = {"cpu": cpu.down_into, "cuda": cuda.down_into}
_DOWN_BACKWARD: dict[str, Callable[..., None]] = {
    "cpu": cpu.down_backward_into,
    "cuda": cuda.down_backward_into,
}


@function("pyramid_residual")
def pyramid_residual_into(fine_level: Tensor, coarse: Tensor, out: Tensor, fine: Sizes) -> None:
    """``out = fine_level − U(coarse)``."""


@function("pyramid_merge")
def pyramid_merge_into(coarse: Tensor, residual: Tensor, out: Tensor, fine: Sizes) -> None:
    """``out = U(coarse) + residual``; ``out`` may be ``residual``."""


@function("pyramid_up_backward")
def _pyramid_up_backward_into(grad: Tensor, grad_coarse: Tensor, fine: Sizes) -> None: ...


def pyramid_down(library: str, x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    x = dense(x, like=x)
    size = coarse_shape(x)
    y = allocation.empty(size, like=x)
    index = allocation.empty(size if reduction == "max" else (0,), like=x, dtype=torch.uint8)
    _DOWN[library](x, y, index, sizes_of(library, x), reduction)
    return y, index


def pyramid_down_backward(
    library: str, grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Dᵀ grad_y``, or ``Gᵀ`` of the gradients at the places of their maxima."""
    grad_y = dense(grad_y, like=grad_y)
    if reduction == "max":
        index = dense(index, like=grad_y)
    grad_x = allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)
    _DOWN_BACKWARD[library](grad_y, index, grad_x, sizes_of(library, grad_x), reduction)
    return grad_x


def pyramid_residual(library: str, fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    fine = dense(fine, like=fine)
    out = allocation.empty(fine.shape, like=fine)
    pyramid_residual_into(library, fine, dense(coarse, like=fine), out, sizes_of(library, fine))
    return out


def pyramid_merge(library: str, coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    residual = dense(residual, like=residual)
    coarse = dense(coarse, like=residual)
    out = allocation.empty(residual.shape, like=residual)
    pyramid_merge_into(library, coarse, residual, out, sizes_of(library, residual))
    return out


def pyramid_up_backward(library: str, grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    grad = dense(grad, like=grad)
    grad_coarse = allocation.empty(coarse_shape(grad), like=grad)
    _pyramid_up_backward_into(library, grad, grad_coarse, sizes_of(library, grad))
    return grad_coarse
