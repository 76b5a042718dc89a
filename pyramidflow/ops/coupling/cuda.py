"""The affine coupling on a GPU, by the kernels of ``csrc/coupling``."""

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.coupling import composite
from pyramidflow.ops.coupling.mode import Coupled, CouplingMode
from pyramidflow.ops.coupling.schema import mean_shape
from pyramidflow.ops.dispatch import steps
from pyramidflow.ops.libraries.cuda import Level, kernel, level_of, new_workspace, query
from pyramidflow.ops.libraries.declaration import Structure, sizes_named

_VOLUME_NORMS = {"cvn": 0, "svn": 1, "none": 2}
_STATISTICS = {"sample": 0, "batch": 1}


class Coupling(Structure):
    """Sizes and settings of a coupling."""

    _fields_ = (
        *sizes_named("batch channels height width type channels_last params_height params_width"),
        *sizes_named("mean_given mean_stride_sample mean_stride_channel mean_stride_pixel"),
        *sizes_named("volume_norm statistics"),
        ("clamp", ctypes.c_float),
    )


@query("affine_coupling_workspace")
def _workspace(coupling: Coupling) -> int: ...


@query("coupling_conv1x1_channels")
def _fused_channels() -> int: ...


@kernel("affine_coupling")
def _affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    y: Tensor,
    log_det: Tensor | None,
    workspace: Tensor,
    coupling: Coupling,
) -> None: ...


@kernel("affine_coupling_inverse")
def _affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None,
    x: Tensor,
    log_det: Tensor | None,
    workspace: Tensor,
    coupling: Coupling,
) -> None: ...


@kernel("affine_coupling_backward")
def _affine_coupling_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    grad_x: Tensor,
    grad_params: Tensor,
    workspace: Tensor,
    coupling: Coupling,
) -> None: ...


@kernel("affine_coupling_inverse_backward")
def _affine_coupling_inverse_backward(
    grad_x: Tensor,
    grad_log_det: Tensor,
    y: Tensor,
    params: Tensor,
    mean: Tensor | None,
    grad_y: Tensor,
    grad_params: Tensor,
    workspace: Tensor,
    coupling: Coupling,
) -> None: ...


@kernel("coupling_conv1x1")
def _coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight_transposed: Tensor,
    y: Tensor | None,
    z: Tensor,
    log_det: Tensor | None,
    workspace: Tensor,
    coupling: Coupling,
) -> None: ...


def affine_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``."""
    return _couple(_affine_coupling, x, params, mean, mode)


def affine_coupling_inverse(
    y: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``."""
    return _couple(_affine_coupling_inverse, y, params, mean, mode)


def affine_coupling_backward(
    grad_y: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling``, through the mean where it was taken from ``params``."""
    return _couple_backward(_affine_coupling_backward, grad_y, grad_log_det, coupled)


def affine_coupling_inverse_backward(
    grad_x: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling_inverse``."""
    return _couple_backward(_affine_coupling_inverse_backward, grad_x, grad_log_det, coupled)


def coupling_conv1x1(
    x: Tensor, params: Tensor, mean: Tensor | None, weight: Tensor, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``."""
    if x.shape[1] > _fused_channels():
        return composite.coupling_conv1x1(steps("cuda"), x, params, mean, weight, mode)
    transposed = weight.t().float().contiguous()

    def launch(x: Tensor, params: Tensor, mean: Tensor | None, *rest: Any) -> None:
        _coupling_conv1x1(x, params, mean, transposed, None, *rest)

    return _couple(launch, x, params, mean, mode)


def _couple(
    launch: Callable[..., None],
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    mode: CouplingMode,
) -> tuple[Tensor, Tensor, Tensor]:
    x = dense(x, like=x)
    ready = dense(params, like=x)
    coupling, mean_read, mean_written = _means(x, params, mean, mode)
    workspace = new_workspace(x, _workspace(coupling))
    y = allocation.empty(x.shape, like=x)
    count = x.shape[0] if mode.with_log_det else 0
    log_det = allocation.empty((count,), like=x, dtype=torch.float32)
    touched = mean_read if mean_written is None else mean_written
    written = log_det if mode.with_log_det else None
    launch(x, ready, touched, y, written, workspace, coupling)
    return y, _mean_result(params, mean_written), log_det


def _couple_backward(
    launch: Callable[..., None],
    grad: Tensor,
    grad_log_det: Tensor,
    coupled: Coupled,
) -> tuple[Tensor, Tensor]:
    x = dense(coupled.x, like=coupled.x)
    ready = dense(coupled.params, like=x)
    coupling, mean, _ = _means(x, coupled.params, coupled.mean, coupled.mode)
    coupling.mean_given = coupled.mean_given
    workspace = new_workspace(x, _workspace(coupling))
    grad_x = allocation.empty(x.shape, like=x)
    grad_params = allocation.empty(ready.shape, like=ready)
    grads = (dense(grad, like=x), grad_log_det.float().contiguous())
    launch(*grads, x, ready, mean, grad_x, grad_params, workspace, coupling)
    return grad_x, dense(grad_params, like=coupled.params)


def _means(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Coupling, Tensor | None, Tensor | None]:
    """What to tell the kernels, the mean they read, and the mean they write or need not touch."""
    level = level_of(x)
    coupling = Coupling(
        **{name: getattr(level, name) for name, _ in Level._fields_},
        params_height=params.shape[2],
        params_width=params.shape[3],
        mean_given=mean is not None,
        volume_norm=_VOLUME_NORMS[mode.volume_norm],
        statistics=_STATISTICS[mode.statistics],
        clamp=mode.clamp,
    )
    if mean is None:
        shape = mean_shape(params, mode)
        written = allocation.empty(shape, like=params, dtype=torch.float32)
        if mode.volume_norm == "none":
            written.zero_()
        elif 0 in x.shape:
            written.fill_(torch.nan)  # as the mean of nothing is
        return coupling, None, written
    read = _with_flat_pixels(mean.float().expand(*x.shape[:2], *params.shape[2:]))
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
