"""The batch's mean of a log-scale where the batch is shared by several processes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyramidflow.ops.coupling.mode import CLAMP, SOFT_CLAMP_GAIN
from pyramidflow.ops.coupling.reference import VOLUME_NORM_DIMS
from pyramidflow.variants import VolumeNormKind

Add = Callable[[Sequence[Tensor]], None]
"""Replaces the values of tensors by their sums over the processes."""


def shared_mean(params: Tensor, kind: VolumeNormKind, add: Add) -> tuple[Tensor, Tensor]:
    """Mean of ``clamp · 0.636 · atan(s0 / clamp)`` over the samples of all processes.

    Args:
        params: ``s0`` and ``t`` of this process's samples, ``[B, 2C, h, w]``; ``B`` may be 0.
        kind: ``"cvn"`` or ``"svn"``.
        add: sums over the processes; each calls it here, and once more in the backward pass.

    Returns:
        The parameters, to be coupled in place of those that were given, and the mean to subtract,
        ``[1, 1, h, w]`` or ``[1, C, 1, 1]``. The gradient through the mean reaches the parameters
        of all processes, by way of the parameters that are returned.
    """
    found: tuple[Tensor, Tensor] = _SharedMean.apply(params, kind, add)
    return found


class _SharedMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, params: Tensor, kind: VolumeNormKind, add: Add) -> tuple[Tensor, Tensor]:
        s0 = params[:, : params.shape[1] // 2]
        scale = CLAMP * SOFT_CLAMP_GAIN * torch.atan(s0 / CLAMP)
        ctx.dims, ctx.add = VOLUME_NORM_DIMS[kind, "batch"], add
        total = scale.sum(ctx.dims, keepdim=True)
        count = total.new_tensor([s0.numel() / total.numel()])  # values of each mean
        add([total, count])
        ctx.save_for_backward(params, count)
        mean = total / count
        ctx.mark_non_differentiable(mean)
        return params.view_as(params), mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        params, count = ctx.saved_tensors
        channels = params.shape[1] // 2
        slope = SOFT_CLAMP_GAIN / (1 + (params[:, :channels] / CLAMP).square())
        # What came back took the mean for a constant: its scale is s, and s loses the mean.
        total = (grad[:, :channels] / slope).sum(ctx.dims, keepdim=True)
        ctx.add([total])
        through = slope * (total / count)
        return torch.cat([grad[:, :channels] - through, grad[:, channels:]], 1), None, None
