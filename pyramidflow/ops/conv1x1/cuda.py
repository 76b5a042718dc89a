"""The 1×1 convolution on a GPU, by the kernels of ``csrc/conv1x1``."""

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.libraries.cuda import Level, kernel, level_of, new_workspace, query


@kernel("invertible_conv1x1")
def _invertible_conv1x1(y: Tensor, weight_transposed: Tensor, z: Tensor, level: Level) -> None: ...


@kernel("invertible_conv1x1_backward")
def _invertible_conv1x1_backward(
    grad_z: Tensor, y: Tensor, grad_weight: Tensor, workspace: Tensor, level: Level
) -> None: ...


@query("invertible_conv1x1_backward_workspace")
def _workspace(level: Level) -> int: ...


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    return _mix_channels(y, weight.t())


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    y = dense(y, like=y)
    grad_z = dense(grad_z, like=y)
    level = level_of(y)
    workspace = new_workspace(y, _workspace(level))
    grad_weight = allocation.empty(weight.shape, like=weight, dtype=torch.float32)
    _invertible_conv1x1_backward(grad_z, y, grad_weight, workspace, level)
    return _mix_channels(grad_z, weight), grad_weight.to(weight.dtype)


def _mix_channels(y: Tensor, transposed: Tensor) -> Tensor:
    y = dense(y, like=y)
    z = allocation.empty(y.shape, like=y)
    _invertible_conv1x1(y, transposed.float().contiguous(), z, level_of(y))
    return z
