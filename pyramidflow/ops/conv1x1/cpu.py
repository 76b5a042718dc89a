"""The 1×1 convolution on the CPU, by the kernels of ``csrc/conv1x1``."""

from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.libraries.cpu import Image, function, image_of


@function("conv1x1")
def _conv1x1(y: Tensor, weight: Tensor, z: Tensor, image: Image) -> None: ...


@function("conv1x1_backward")
def _conv1x1_backward(
    grad_z: Tensor,
    y: Tensor,
    transposed_weight: Tensor,
    grad_y: Tensor,
    grad_weight: Tensor,
    image: Image,
) -> None: ...


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    y = dense(y, like=y)
    z = allocation.empty(y.shape, like=y)
    _conv1x1(y, weight.contiguous(), z, image_of(y))
    return z


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    y = dense(y, like=y)
    grad_z = dense(grad_z, like=y)
    grad_y = allocation.empty(y.shape, like=y)
    grad_weight = allocation.empty(weight.shape, like=weight)
    transposed = weight.t().contiguous()
    _conv1x1_backward(grad_z, y, transposed, grad_y, grad_weight, image_of(y))
    return grad_y, grad_weight
