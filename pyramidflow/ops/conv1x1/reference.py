"""The 1×1 convolution in plain PyTorch: the oracle."""

from torch import Tensor
from torch.nn import functional

from pyramidflow.ops.allocation import dense
from pyramidflow.ops.oracle import gradients


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y`` at every pixel."""
    return dense(functional.conv2d(y, weight[:, :, None, None]), like=y)


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    grad_y, grad_weight = gradients(invertible_conv1x1, [y, weight], grad_z)
    return dense(grad_y, like=y), grad_weight.contiguous()
