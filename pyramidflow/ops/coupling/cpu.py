"""The affine coupling on the CPU, by the kernels of ``csrc/coupling``."""

import ctypes

import torch
from torch import Tensor

from pyramidflow.ops import allocation
from pyramidflow.ops.allocation import dense
from pyramidflow.ops.coupling.mode import Coupled, CouplingMode
from pyramidflow.ops.coupling.schema import mean_shape
from pyramidflow.ops.libraries.cpu import function, is_channels_last
from pyramidflow.ops.libraries.declaration import Structure, sizes_named

MEAN_NONE, MEAN_PIXEL, MEAN_CHANNEL, MEAN_FULL, MEAN_TAKEN = range(5)
MEAN_KINDS = {"none": MEAN_NONE, "cvn": MEAN_PIXEL, "svn": MEAN_CHANNEL}


class Coupling(Structure):
    """Sizes, mean and direction of an affine coupling."""

    _fields_ = (
        *sizes_named("batch channels height width params_height params_width channels_last"),
        *sizes_named("inverse mean_kind mean_batch"),
        ("clamp", ctypes.c_float),
    )


@function("coupling_mean_pixel")
def _mean_pixel(params: Tensor, mean: Tensor, shape: Coupling) -> None: ...


@function("coupling_mean_channel")
def _mean_channel(params: Tensor, mean: Tensor, shape: Coupling) -> None: ...


@function("coupling")
def _couple(
    x: Tensor,
    params: Tensor,
    mean: Tensor,
    weight: Tensor | None,
    y: Tensor,
    log_det: Tensor | None,
    shape: Coupling,
) -> None: ...


@function("coupling_backward")
def _couple_backward(
    grad: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean: Tensor,
    transposed_weight: Tensor | None,
    grad_x: Tensor,
    grad_params: Tensor,
    grad_weight: Tensor | None,
    shape: Coupling,
    through_mean: int,
) -> None: ...


def affine_coupling(
    x: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``."""
    return _forward(x, params, mean, None, mode, inverse=False)


def affine_coupling_inverse(
    y: Tensor, params: Tensor, mean: Tensor | None, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``."""
    return _forward(y, params, mean, None, mode, inverse=True)


def coupling_conv1x1(
    x: Tensor, params: Tensor, mean: Tensor | None, weight: Tensor, mode: CouplingMode
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``."""
    return _forward(x, params, mean, weight.contiguous(), mode, inverse=False)


def affine_coupling_backward(
    grad_y: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling``."""
    return _backward(grad_y, grad_log_det, coupled, inverse=False)


def affine_coupling_inverse_backward(
    grad_x: Tensor, grad_log_det: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor]:
    """Gradients of ``affine_coupling_inverse``."""
    return _backward(grad_x, grad_log_det, coupled, inverse=True)


def coupling_conv1x1_backward(
    grad_z: Tensor, grad_log_det: Tensor, weight: Tensor, coupled: Coupled
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``coupling_conv1x1``; what is between the two steps is computed again."""
    grad_weight = allocation.empty(weight.shape, like=weight)
    grads = _backward(grad_z, grad_log_det, coupled, False, weight, grad_weight)
    return *grads, grad_weight


def _coupling(
    x: Tensor, params: Tensor, mean_kind: int, mean_batch: int, clamp: float, inverse: bool
) -> Coupling:
    size = (*x.shape, *params.shape[2:])
    return Coupling(*size, is_channels_last(x), inverse, mean_kind, mean_batch, clamp)


def _given_mean(mean: Tensor, params: Tensor, like: Tensor) -> tuple[Tensor, int, int]:
    batch, channels, height, width = mean.shape
    size = params.shape[2:]
    if (height, width) == (1, 1):
        per_channel = mean.expand(batch, params.shape[1] // 2, 1, 1)
        return per_channel.contiguous(), MEAN_CHANNEL, batch
    if channels == 1:
        return mean.expand(batch, 1, *size).contiguous(), MEAN_PIXEL, batch
    full = mean.expand(batch, params.shape[1] // 2, *size)
    return dense(full, like=like), MEAN_FULL, batch


def _forward(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor | None,
    mode: CouplingMode,
    inverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    x = dense(x, like=x)
    params = dense(params, like=x)
    y = allocation.empty(x.shape, like=x)
    log_det = allocation.empty((x.shape[0] if mode.with_log_det else 0,), like=x)
    written = log_det if mode.with_log_det else None
    if mean is not None:
        values, kind, batch = _given_mean(mean, params, x)
        shape = _coupling(x, params, kind, batch, mode.clamp, inverse)
        _couple(x, params, values, weight, y, written, shape)
        return y, allocation.empty((0,), like=x), log_det
    # The mean has one value a pixel or a channel: both memory formats store it alike.
    taken = allocation.empty(mean_shape(params, mode), like=params)
    shape = _coupling(x, params, MEAN_KINDS[mode.volume_norm], taken.shape[0], mode.clamp, inverse)
    if mode.volume_norm == "none":
        taken.zero_()
    elif x.shape[0] == 0:
        taken.fill_(torch.nan)
    elif mode.volume_norm == "cvn" and x.shape[2:] == params.shape[2:]:
        shape.mean_kind = MEAN_TAKEN
    else:
        take_mean = _mean_pixel if mode.volume_norm == "cvn" else _mean_channel
        take_mean(params, taken, shape)
    _couple(x, params, taken, weight, y, written, shape)
    return y, taken, log_det


def _backward(
    grad: Tensor,
    grad_log_det: Tensor,
    coupled: Coupled,
    inverse: bool,
    weight: Tensor | None = None,
    grad_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    x = dense(coupled.x, like=coupled.x)
    params, grad = dense(coupled.params, like=x), dense(grad, like=x)
    transposed = None if weight is None else weight.t().contiguous()
    grad_x, grad_params = allocation.empty(x.shape, like=x), allocation.empty(params.shape, like=x)
    mean = coupled.mean
    through = MEAN_NONE if coupled.mean_given else MEAN_KINDS[coupled.volume_norm]
    if coupled.mean_given:
        values, kind, batch = _given_mean(mean, params, x)
    else:
        values, kind, batch = mean.contiguous(), through, mean.shape[0]
    shape = _coupling(x, params, kind, batch, coupled.clamp, inverse)
    given = (grad, grad_log_det.contiguous(), x, params, values, transposed)
    _couple_backward(*given, grad_x, grad_params, grad_weight, shape, through)
    return grad_x, dense(grad_params, like=coupled.params)
