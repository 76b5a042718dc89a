"""Launches of the affine coupling's kernels: alone, inverted, and with the convolutions around."""

import ctypes

import torch
from torch import Tensor

from pyramidflow.ops import allocation, dispatch
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.backend_cuda.compiled import Coupling, call, kind, new_workspace, run
from pyramidflow.ops.backend_cuda.convolution import (
    invertible_conv1x1,
    invertible_conv1x1_backward,
)
from pyramidflow.ops.convolution.direct import conv2d
from pyramidflow.ops.registry import mean_shape

_VOLUME_NORMS = {"cvn": 0, "svn": 1, "none": 2}
_STATISTICS = {"sample": 0, "batch": 1}


def affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``."""
    return _couple("affine_coupling", x, params, mean, volume_norm, statistics, clamp)


def affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``."""
    return _couple("affine_coupling_inverse", y, params, mean, volume_norm, statistics, clamp)


def affine_coupling_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling``, through the mean where it was taken from ``params``."""
    return _couple_backward(
        "affine_coupling_backward",
        grad_y,
        grad_log_det,
        x,
        params,
        mean_used,
        mean_given,
        volume_norm,
        statistics,
        clamp,
    )


def affine_coupling_inverse_backward(
    grad_x: Tensor,
    grad_log_det: Tensor,
    y: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling_inverse``."""
    return _couple_backward(
        "affine_coupling_inverse_backward",
        grad_x,
        grad_log_det,
        y,
        params,
        mean_used,
        mean_given,
        volume_norm,
        statistics,
        clamp,
    )


def coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``."""
    if x.shape[1] > run("coupling_conv1x1_channels"):
        y, mean_used, log_det = affine_coupling(x, params, mean, volume_norm, statistics, clamp)
        return invertible_conv1x1(y, weight), mean_used, log_det
    x = dense(x, like=x)
    ready = dense(params, like=x)
    coupling, mean_read, mean_written = _means(x, params, mean, volume_norm, statistics, clamp)
    workspace = new_workspace(x, run("affine_coupling_workspace", ctypes.byref(coupling)))
    z = allocation.empty(x.shape, like=x)
    log_det = allocation.empty((x.shape[0],), like=x, dtype=torch.float32)
    call(
        "coupling_conv1x1",
        x,
        ready,
        mean_read if mean_written is None else mean_written,
        weight.t().float().contiguous(),
        None,
        z,
        log_det,
        workspace,
        ctypes.byref(coupling),
    )
    return z, _mean_result(params, mean_written), log_det


def coupling_conv1x1_backward(
    grad_z: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``coupling_conv1x1``; the coupling's result is computed again."""
    y, _, _ = affine_coupling(x, params, mean_used, volume_norm, statistics, clamp)
    grad_y, grad_weight = invertible_conv1x1_backward(grad_z, y, weight)
    grad_x, grad_params = affine_coupling_backward(
        grad_y, grad_log_det, x, params, mean_used, mean_given, volume_norm, statistics, clamp
    )
    return grad_x, grad_params, grad_weight


def conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    resample: str,
    clamp: float,
) -> Tensor:
    """Triton's kernel, which keeps the parameters in registers; without it, in two steps."""
    if dispatch.status("triton").available:
        arguments = (x, hidden, kernel, mean, weight, resample, clamp)
        fused: Tensor = dispatch.load("triton").conv_coupling_conv1x1(*arguments)
        return fused
    params = conv2d(hidden, kernel, resample, -1)
    z, _, _ = coupling_conv1x1(x, params, mean, weight, "none", "sample", clamp)
    return z


def _couple(
    name: str,
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    x = dense(x, like=x)
    ready = dense(params, like=x)
    coupling, mean_read, mean_written = _means(x, params, mean, volume_norm, statistics, clamp)
    workspace = new_workspace(x, run("affine_coupling_workspace", ctypes.byref(coupling)))
    y = allocation.empty(x.shape, like=x)
    log_det = allocation.empty((x.shape[0],), like=x, dtype=torch.float32)
    call(
        name,
        x,
        ready,
        mean_read if mean_written is None else mean_written,
        y,
        log_det,
        workspace,
        ctypes.byref(coupling),
    )
    return y, _mean_result(params, mean_written), log_det


def _couple_backward(
    name: str,
    grad: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor]:
    x = dense(x, like=x)
    ready = dense(params, like=x)
    coupling, mean_read, _ = _means(x, params, mean_used, volume_norm, statistics, clamp)
    coupling.mean_given = mean_given
    workspace = new_workspace(x, run("affine_coupling_workspace", ctypes.byref(coupling)))
    grad_x = allocation.empty(x.shape, like=x)
    grad_params = allocation.empty(ready.shape, like=ready)
    call(
        name,
        dense(grad, like=x),
        grad_log_det.float().contiguous(),
        x,
        ready,
        mean_read,
        grad_x,
        grad_params,
        workspace,
        ctypes.byref(coupling),
    )
    return grad_x, dense(grad_params, like=params)


def _means(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Coupling, Tensor | None, Tensor | None]:
    """What to tell the kernels, the mean they read, and the mean they write or need not touch."""
    batch, channels, height, width = x.shape
    type_code, layout = kind(x)
    coupling = Coupling(
        batch=batch,
        channels=channels,
        height=height,
        width=width,
        params_height=params.shape[2],
        params_width=params.shape[3],
        mean_given=mean is not None,
        volume_norm=_VOLUME_NORMS[volume_norm],
        statistics=_STATISTICS[statistics],
        type=type_code,
        channels_last=layout,
        clamp=clamp,
    )
    if mean is None:
        shape = mean_shape(params, volume_norm, statistics)
        written = allocation.empty(shape, like=params, dtype=torch.float32)
        if volume_norm == "none":
            written.zero_()
        elif 0 in x.shape:
            written.fill_(torch.nan)  # as the mean of nothing is
        return coupling, None, written
    full = (batch, channels, *params.shape[2:])
    read = _with_flat_pixels(mean.float().expand(full))
    coupling.mean_stride_sample, coupling.mean_stride_channel = read.stride()[:2]
    coupling.mean_stride_pixel = _pixel_stride(read)
    return coupling, read, None


def _pixel_stride(x: Tensor) -> int:
    return x.stride(2) if x.shape[3] == 1 else x.stride(3)


def _with_flat_pixels(x: Tensor) -> Tensor:
    # The kernels count pixels in one dimension: rows must follow each other in memory.
    if 1 in x.shape[2:] or x.stride(2) == x.shape[3] * x.stride(3):
        return x
    return x.contiguous()


def _mean_result(params: Tensor, written: Tensor | None) -> Tensor:
    if written is None:
        return allocation.empty((0,), like=params)
    if written.dtype == params.dtype:
        return written
    return allocation.empty(written.shape, like=params).copy_(written)
