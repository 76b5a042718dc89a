"""The affine coupling by Triton's kernels: alone, inverted, and with the convolutions around it."""

import torch
import triton
from torch import Tensor

from pyramidflow import kernels
from pyramidflow.ops import allocation
from pyramidflow.ops.backend.launch import device_of, dot_type, is_flat, pixel_grid
from pyramidflow.ops.coupling import composite
from pyramidflow.ops.coupling.mode import Block, Coupled, CouplingMode
from pyramidflow.ops.coupling.triton_means import (
    average_gradient,
    clamp_factors,
    is_resized,
    mean_to_subtract,
    resize_scales,
    takers,
)
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.tf32 import convolutions_take_tf32


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
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    mode: CouplingMode,
    inverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    y = allocation.empty(x.shape, like=x)
    subtracted, in_kernel = mean_to_subtract(x, params, mean, mode)
    sums = _channel_sums(x)
    if y.numel():
        read = _like_params(subtracted, params)
        with device_of(x):
            kernels.coupling.affine_coupling_forward_kernel[pixel_grid(x)](
                x,
                params,
                read,
                y,
                sums,
                x.stride(),
                params.stride(),
                read.stride(),
                y.stride(),
                *x.shape[1:],
                *params.shape[2:],
                *resize_scales(x, params),
                *clamp_factors(mode.clamp),
                INVERSE=inverse,
                CHANNEL_MEAN=in_kernel,
                RESIZED=is_resized(x, params),
                FLAT=is_flat(x, params, read, y),
            )
    return y, _new_mean(params, mean, subtracted), sums.sum((1, 2))


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
    grad: Tensor,
    grad_log_det: Tensor,
    coupled: Coupled,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    x, params, mean, mean_given, *_ = coupled
    reduced = "none" if mean_given else coupled.volume_norm
    grad_x = allocation.empty(x.shape, like=x)
    grad_params = allocation.empty(params.shape, like=params)
    if not params.numel():
        return grad_x, grad_params
    mean = _like_params(mean, params)
    resized = is_resized(x, params)
    levels = () if resized else (grad, x, grad_x)
    in_kernel = (reduced, coupled.statistics) == ("cvn", "sample") and not resized
    average = params.new_zeros((1, 1, 1, 1), dtype=torch.float32)
    if reduced != "none" and not in_kernel and x.numel():
        read = coupled._replace(mean=mean)
        average = average_gradient(grad, grad_log_det, read, inverse)
    average = _like_params(average, params)
    row_first, row_repeats = takers(x.shape[2], params.shape[2], x.device)
    column_first, column_repeats = takers(x.shape[3], params.shape[3], x.device)
    with device_of(x):
        kernels.coupling.affine_coupling_backward_kernel[pixel_grid(params)](
            grad,
            grad_log_det.contiguous(),
            x,
            params,
            mean,
            average,
            row_first,
            column_first,
            grad_x,
            grad_params,
            grad.stride(),
            x.stride(),
            params.stride(),
            mean.stride(),
            average.stride(),
            grad_x.stride(),
            grad_params.stride(),
            x.shape[1],
            *params.shape[2:],
            *clamp_factors(coupled.clamp),
            INVERSE=inverse,
            CHANNEL_AVERAGE=in_kernel,
            RESIZED=resized,
            REPEATS_H=row_repeats,
            REPEATS_W=column_repeats,
            FLAT=is_flat(params, mean, average, grad_params, *levels),
        )
    return grad_x, grad_params


def coupling_conv1x1(
    x: Tensor, params: Tensor, mean: Tensor | None, weight: Tensor, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``, in one pass where a program can hold every channel."""
    if x.shape[1] > kernels.conv1x1.FUSED_CHANNELS or not x.numel():
        return composite.coupling_conv1x1(steps("triton"), x, params, mean, weight, mode)
    z = allocation.empty(x.shape, like=x)
    subtracted, in_kernel = mean_to_subtract(x, params, mean, mode)
    sums = _channel_sums(x)
    read = _like_params(subtracted, params)
    with device_of(x):
        kernels.conv1x1.coupling_conv1x1_forward_kernel[pixel_grid(x)](
            x,
            params,
            read,
            weight,
            z,
            sums,
            x.stride(),
            params.stride(),
            read.stride(),
            weight.stride(),
            z.stride(),
            *x.shape[1:],
            *params.shape[2:],
            *resize_scales(x, params),
            *clamp_factors(mode.clamp),
            DOT_TYPE=dot_type(x),
            CHANNEL_MEAN=in_kernel,
            RESIZED=is_resized(x, params),
            FLAT=is_flat(x, params, read, z),
            BLOCK_C=max(16, triton.next_power_of_2(x.shape[1])),
        )
    return z, _new_mean(params, mean, subtracted), sums.sum((1, 2))


def conv_coupling_conv1x1(
    block: Block,
) -> Tensor:
    """``z = A (exp(s) ⊙ x + t)`` with the parameters ``kernel ∗ hidden``, which stay in registers.

    float32 products are TF32 where PyTorch's own convolutions are.
    """
    x, hidden, kernel, mean, weight, resample, clamp = block
    if x.shape[1] > kernels.coupling_convolution.CHANNELS_AT_MOST or not x.numel():
        return composite.conv_coupling_conv1x1(steps("triton"), block)
    last = torch.channels_last
    x_last = x.contiguous(memory_format=last)
    z = torch.empty_like(x_last)
    if mean.shape[2:] != (1, 1):
        mean = mean.expand(-1, -1, *x.shape[2:])
    # One stride reaches every pixel of a mean: its rows follow each other, or it has one value.
    mean = mean.contiguous().expand(x.shape)
    with device_of(x):
        kernels.coupling_convolution.conv_coupling_conv1x1_forward_kernel[pixel_grid(x)](
            x_last,
            hidden.contiguous(memory_format=last),
            kernel.contiguous(memory_format=last),
            mean,
            weight.contiguous(),
            z,
            mean.stride(),
            x.shape[1],
            *hidden.shape[1:2],
            *x.shape[2:],
            *hidden.shape[2:],
            *clamp_factors(clamp),
            SIZE=kernel.shape[-1],
            STRIDE=2 if resample == "down" else 1,
            DOT_TYPE=dot_type(x),
            PRECISION="tf32" if convolutions_take_tf32() else "ieee",
            BLOCK_C=max(16, triton.next_power_of_2(x.shape[1])),
        )
    return allocation.dense(z, like=x)


def _new_mean(params: Tensor, given: Tensor | None, used: Tensor) -> Tensor:
    if given is not None:
        return params.new_empty(0)
    return used.to(params.dtype)


def _like_params(mean: Tensor, params: Tensor) -> Tensor:
    batch, channels, height, width = params.shape
    return mean.expand(batch, channels // 2, height, width)


def _channel_sums(x: Tensor) -> Tensor:
    sums = (x.shape[0], *x.shape[2:])
    # With no channel there is no program, and the sum over nothing is zero.
    make = torch.empty if x.numel() else torch.zeros
    return make(sums, dtype=torch.float32, device=x.device)
