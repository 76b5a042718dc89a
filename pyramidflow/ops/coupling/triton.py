"""The affine coupling by Triton's kernels: alone, inverted, and with the convolutions around it."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.coupling import composite
from pyramidflow.ops.coupling.mode import Block, Coupled, CouplingMode
from pyramidflow.ops.coupling.triton_means import (
    average_gradient,
    clamp_factors,
    mean_to_subtract,
    takers,
)
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.op import nothing
from pyramidflow.ops.tf32 import convolutions_take_tf32

if TYPE_CHECKING:  # a checkout has the kernels beside the package
    from kernels import conv1x1, coupling, coupling_convolution
else:
    from pyramidflow.kernels import conv1x1, coupling, coupling_convolution


def affine_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``."""
    return _couple(x, params, mean, mode, inverse=False)


def affine_coupling_inverse(
    y: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``, ``−Σ s``."""
    x, mean_used, log_det = _couple(y, params, mean, mode, inverse=True)
    return x, mean_used, -log_det


def _couple(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode, inverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    y = allocation.empty(x.shape, like=x)
    subtracted, in_kernel = mean_to_subtract(x, params, mean, mode)
    sums = _channel_sums(x, mode)
    if y.numel():
        read = _read(x, params, subtracted, mode.clamp, inverse)
        coupling.affine_coupling_forward(read, y, sums, channel_mean=in_kernel)
    return y, _new_mean(params, mean, subtracted), _log_det(x, sums)


def affine_coupling_backward(
    grad_y: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling``, through the mean where it was taken from ``params``."""
    return _couple_backward(grad_y, grad_log_det, coupled, inverse=False)


def affine_coupling_inverse_backward(
    grad_x: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling_inverse``."""
    return _couple_backward(grad_x, grad_log_det, coupled, inverse=True)


def _couple_backward(
    grad: Tensor, grad_log_det: Tensor, coupled: Coupled, inverse: bool
) -> tuple[Tensor, Tensor]:
    x, params, mean, mean_given, *_ = coupled
    reduced = "none" if mean_given else coupled.volume_norm
    grad_x = allocation.empty(x.shape, like=x)
    grad_params = allocation.empty(params.shape, like=params)
    if not params.numel():
        return grad_x, grad_params
    read = _read(x, params, mean, coupled.clamp, inverse)
    grads = (grad, grad_log_det.contiguous())
    in_kernel = (reduced, coupled.statistics) == ("cvn", "sample") and not read.is_resized
    average = params.new_zeros((1, 1, 1, 1), dtype=torch.float32)
    if reduced != "none" and not in_kernel and x.numel():
        average = average_gradient(grads, read, coupled.mode)
    coupling.affine_coupling_backward(
        read,
        grads,
        _like_params(average, params),
        (
            takers(x.shape[2], params.shape[2], x.device),
            takers(x.shape[3], params.shape[3], x.device),
        ),
        (grad_x, grad_params),
        channel_average=in_kernel,
    )
    return grad_x, grad_params


def coupling_conv1x1(
    x: Tensor, params: Tensor, mean: Tensor | None, weight: Tensor, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``, in one pass where a program can hold every channel."""
    if x.shape[1] > conv1x1.FUSED_CHANNELS or not x.numel():
        return composite.coupling_conv1x1(steps("triton"), x, params, mean, weight, mode)
    z = allocation.empty(x.shape, like=x)
    subtracted, in_kernel = mean_to_subtract(x, params, mean, mode)
    sums = _channel_sums(x, mode)
    read = _read(x, params, subtracted, mode.clamp, inverse=False)
    conv1x1.coupling_conv1x1_forward(read, weight, z, sums, channel_mean=in_kernel)
    return z, _new_mean(params, mean, subtracted), _log_det(x, sums)


def conv_coupling_conv1x1(block: Block) -> Tensor:
    """``z = A (exp(s) ⊙ x + t)`` with the parameters ``kernel ∗ hidden``, which stay in registers.

    float32 products are TF32 where PyTorch's own convolutions are.
    """
    x, hidden, kernel, mean, weight, resample, clamp = block
    if x.shape[1] > coupling_convolution.CHANNELS_AT_MOST or not x.numel():
        return composite.conv_coupling_conv1x1(steps("triton"), block)
    x_last, hidden, kernel = (
        image.contiguous(memory_format=torch.channels_last) for image in (x, hidden, kernel)
    )
    z = torch.empty_like(x_last)
    if mean.shape[2:] != (1, 1):
        mean = mean.expand(-1, -1, *x.shape[2:])
    coupling_convolution.conv_coupling_conv1x1_forward(
        *(x_last, hidden, kernel),
        # One stride reaches every pixel of a mean: its rows follow each other, or it has one value.
        mean.contiguous().expand(x.shape),
        weight.contiguous(),
        z,
        clamp_factors(clamp),
        stride=2 if resample == "down" else 1,
        precision="tf32" if convolutions_take_tf32() else "ieee",
    )
    return allocation.dense(z, like=x)


def _read(
    x: Tensor, params: Tensor, mean: Tensor, clamp: float, inverse: bool
) -> coupling.Coupling:
    mean = _like_params(mean, params)
    return coupling.Coupling(x, params, mean, clamp_factors(clamp), inverse)


def _new_mean(params: Tensor, given: Tensor | None, used: Tensor) -> Tensor:
    if given is not None:
        return params.new_empty(0)
    return used.to(params.dtype)


def _like_params(mean: Tensor, params: Tensor) -> Tensor:
    batch, channels, height, width = params.shape
    return mean.expand(batch, channels // 2, height, width)


def _channel_sums(x: Tensor, mode: CouplingMode) -> Tensor | None:
    if not mode.with_log_det:
        return None
    sums = (x.shape[0], *x.shape[2:])
    # With no channel there is no program, and the sum over nothing is zero.
    make = torch.empty if x.numel() else torch.zeros
    return make(sums, dtype=torch.float32, device=x.device)


def _log_det(x: Tensor, sums: Tensor | None) -> Tensor:
    return nothing(x, dtype=torch.float32) if sums is None else sums.sum((1, 2))
