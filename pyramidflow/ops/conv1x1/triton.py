"""The 1×1 convolution by Triton's kernels."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyramidflow.ops import allocation

if TYPE_CHECKING:  # a checkout has the kernels beside the package
    from kernels import conv1x1 as kernels
else:
    from pyramidflow.kernels import conv1x1 as kernels

GRADIENT_CHUNKS = 256
"""Most partial sums of a 1×1 convolution's weight gradient."""


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    z = allocation.empty(y.shape, like=y)
    if z.numel():
        kernels.invertible_conv1x1_forward(y, weight, z)
    return z


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    batch, channels, height, width = y.shape
    grad_y = allocation.dense(invertible_conv1x1(grad_z, weight.T), like=y)
    if not y.numel():
        return grad_y, torch.zeros_like(weight, memory_format=torch.contiguous_format)
    # A chunk is about 256 pixels at least, so that partial sums stay small beside what is read.
    chunks = min(GRADIENT_CHUNKS, -(-batch * height * width // 256))
    partial = allocation.empty((chunks, channels, channels), like=y, dtype=torch.float32)
    kernels.invertible_conv1x1_backward(grad_z, y, partial)
    return grad_y, partial.sum(0).to(weight.dtype)
