"""Launches of the 1×1 convolution's kernels."""

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.backend_cuda.compiled import call, kind, new_workspace, run


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    return _mix_channels(y, weight.t())


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    y = dense(y, like=y)
    grad_z = dense(grad_z, like=y)
    batch, channels, height, width = y.shape
    sizes = (batch, channels, height * width)
    workspace = new_workspace(y, run("invertible_conv1x1_backward_workspace", *sizes))
    grad_weight = allocation.empty(weight.shape, like=weight, dtype=torch.float32)
    call("invertible_conv1x1_backward", grad_z, y, grad_weight, workspace, *sizes, *kind(y))
    return _mix_channels(grad_z, weight), grad_weight.to(weight.dtype)


def _mix_channels(y: Tensor, transposed: Tensor) -> Tensor:
    y = dense(y, like=y)
    z = allocation.empty(y.shape, like=y)
    batch, channels, height, width = y.shape
    weight = transposed.float().contiguous()
    call("invertible_conv1x1", y, weight, z, batch, channels, height * width, *kind(y))
    return z
