"""The affine coupling in plain PyTorch: the oracle.

A given mean is not returned: a result must not be one of the arguments.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.ops.allocation import dense
from pyramidflow.ops.conv1x1.reference import invertible_conv1x1
from pyramidflow.ops.convolution.reference import conv2d
from pyramidflow.ops.coupling.mode import SOFT_CLAMP_GAIN, Block, Coupled, CouplingMode, given_mean
from pyramidflow.ops.oracle import gradients, owned

VOLUME_NORM_DIMS = {
    ("cvn", "sample"): (1,),
    ("cvn", "batch"): (0, 1),
    ("svn", "sample"): (2, 3),
    ("svn", "batch"): (0, 2, 3),
}
"""Dimensions that volume normalisation averages over, by kind and statistics."""


def _log_scale(params: Tensor, mean: Tensor | None, mode: CouplingMode) -> tuple[Tensor, Tensor]:
    s = mode.clamp * SOFT_CLAMP_GAIN * torch.atan(params / mode.clamp)
    if mean is None and mode.volume_norm == "none":
        mean = s.new_zeros(1, 1, 1, 1)
    elif mean is None:
        mean = s.mean(VOLUME_NORM_DIMS[mode.volume_norm, mode.statistics], keepdim=True)
    return s - mean, mean


def _scale_and_shift(
    size: Sequence[int], params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``s`` and ``t`` at the size of the level, and the mean as a result."""
    s0, t = params.chunk(2, dim=1)  # [B, C, H', W'] each
    s, used = _log_scale(s0, mean, mode)
    if s.shape[-2:] != tuple(size):
        s = functional.interpolate(s, size=tuple(size), mode="nearest")  # [B, C, H, W]
        t = functional.interpolate(t, size=tuple(size), mode="nearest")  # [B, C, H, W]
    return s, t, params.new_empty(0) if mean is not None else dense(used.detach(), like=params)


def _sum_of_samples(s: Tensor, mode: CouplingMode) -> Tensor:
    if not mode.with_log_det:
        return s.new_empty(0, dtype=torch.promote_types(s.dtype, torch.float32))
    # In float32 at least: the sum over a sample of a million elements leaves float16's range.
    return s.sum((1, 2, 3), dtype=torch.promote_types(s.dtype, torch.float32))  # [B]


def affine_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``; also the mean that was taken and ``Σ s`` of each sample."""
    s, t, taken = _scale_and_shift(x.shape[-2:], params, mean, mode)
    return dense(torch.exp(s) * x + t, like=x), taken, _sum_of_samples(s, mode)


def affine_coupling_inverse(
    y: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``; also the mean that was taken and ``−Σ s`` of each sample."""
    s, t, taken = _scale_and_shift(y.shape[-2:], params, mean, mode)
    return dense((y - t) * torch.exp(-s), like=y), taken, -_sum_of_samples(s, mode)


def affine_coupling_backward(
    grad_y: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling``, through the mean where it was taken from ``params``."""
    return _backward(affine_coupling, (grad_y, grad_log_det), coupled)


def affine_coupling_inverse_backward(
    grad_x: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling_inverse``."""
    return _backward(affine_coupling_inverse, (grad_x, grad_log_det), coupled)


def _backward(
    couple: Callable[..., tuple[Tensor, Tensor, Tensor]],
    grads: tuple[Tensor, Tensor],
    coupled: Coupled,
) -> tuple[Tensor, Tensor]:
    def differentiable(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        y, _, log_det = couple(x, params, coupled.given, coupled.mode)
        return y, log_det

    grad_x, grad_params = gradients(differentiable, [coupled.x, coupled.params], grads)
    return dense(grad_x, like=coupled.x), dense(grad_params, like=coupled.params)


def coupling_conv1x1(
    x: Tensor, params: Tensor, mean: Tensor | None, weight: Tensor, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``; also the mean that was taken and ``Σ s`` of each sample."""
    y, taken, log_det = affine_coupling(x, params, mean, mode)
    return invertible_conv1x1(y, weight), taken, log_det


def coupling_conv1x1_backward(
    grad_z: Tensor, grad_log_det: Tensor, weight: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``coupling_conv1x1``."""

    def differentiable(x: Tensor, params: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        z, _, log_det = coupling_conv1x1(x, params, coupled.given, weight, coupled.mode)
        return z, log_det

    inputs = [coupled.x, coupled.params, weight]
    grad_x, grad_params, grad_weight = gradients(differentiable, inputs, (grad_z, grad_log_det))
    grads = (dense(grad_x, like=coupled.x), dense(grad_params, like=coupled.params))
    return *grads, grad_weight.contiguous()


def conv_coupling_conv1x1(
    block: Block,
) -> Tensor:
    """``z = A (exp(s) ⊙ x + t)`` with the parameters ``kernel ∗ hidden``."""
    x, hidden, kernel, mean, weight, resample, clamp = block
    params = conv2d(hidden, kernel, resample)
    return owned(coupling_conv1x1(x, params, mean, weight, given_mean(clamp))[0], like=x)
