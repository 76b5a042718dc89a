"""The ``cpu`` backend: float32 kernels in C++, in the compiled library.

The kernels take dense tensors of one memory format, that of the operation's first tensor; operands
that are in another one are copied. Every function is the one of the same name in the reference.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyramidflow.ops import allocation, library
from pyramidflow.ops.allocation import dense, memory_format
from pyramidflow.ops.compiled_cpu import Coupling, Image, call, compiled
from pyramidflow.ops.convolution.spectral import conv2d as conv2d
from pyramidflow.ops.convolution.spectral import conv2d_backward as conv2d_backward
from pyramidflow.ops.dispatch import Status
from pyramidflow.ops.registry import mean_shape

DEVICES = frozenset({"cpu"})
DTYPES = frozenset({torch.float32})

MEAN_NONE, MEAN_PIXEL, MEAN_CHANNEL, MEAN_FULL = range(4)
MEAN_KINDS = {"none": MEAN_NONE, "cvn": MEAN_PIXEL, "svn": MEAN_CHANNEL}


def status() -> Status:
    """Whether the compiled library is there, and what it was compiled with."""
    try:
        loaded = compiled()
    except library.LibraryError as error:
        return Status(False, str(error))
    level = loaded.pyramidflow_cpu_level().decode()
    details = {
        "instruction set": level,
        "compiler": loaded.pyramidflow_cpu_compiler().decode(),
        "sources": library.source_digest(loaded, "cpu"),
    }
    return Status(True, f"compiled kernels, float32, {level}.", details)


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    x = dense(x, like=x)
    half = (*x.shape[:2], (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2)
    y = allocation.empty(half, like=x)
    if reduction == "nearest":
        call("pyramid_down", x, y, _image(x))
        return y, allocation.empty((0,), like=x, dtype=torch.uint8)
    index = allocation.empty(half, like=x, dtype=torch.uint8)
    call("pyramid_down_max", x, y, index, _image(x))
    return y, index


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Dᵀ grad_y``."""
    grad_y = dense(grad_y, like=grad_y)
    grad_x = allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)
    if reduction == "nearest":
        call("pyramid_down_backward", grad_y, grad_x, _image(grad_x))
    else:
        index = dense(index, like=grad_y)
        call("pyramid_down_max_backward", grad_y, index, grad_x, _image(grad_x))
    return grad_x


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    fine = dense(fine, like=fine)
    out = allocation.empty(fine.shape, like=fine)
    call("pyramid_residual", fine, dense(coarse, like=fine), out, _image(fine))
    return out


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    residual = dense(residual, like=residual)
    out = allocation.empty(residual.shape, like=residual)
    call("pyramid_merge", dense(coarse, like=residual), residual, out, _image(residual))
    return out


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    grad = dense(grad, like=grad)
    half = (*grad.shape[:2], (grad.shape[2] + 1) // 2, (grad.shape[3] + 1) // 2)
    grad_coarse = allocation.empty(half, like=grad)
    call("pyramid_up_backward", grad, grad_coarse, _image(grad))
    return grad_coarse


def affine_coupling(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``y = exp(s) ⊙ x + t``."""
    return _forward(x, params, mean, None, volume_norm, statistics, clamp, inverse=False)


def affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``."""
    return _forward(y, params, mean, None, volume_norm, statistics, clamp, inverse=True)


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
    weight = weight.contiguous()
    return _forward(x, params, mean, weight, volume_norm, statistics, clamp, inverse=False)


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
    """Gradients of ``affine_coupling``."""
    coupling = (x, params, mean_used, mean_given, volume_norm, clamp)
    return _backward(grad_y, grad_log_det, *coupling, inverse=False)


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
    coupling = (y, params, mean_used, mean_given, volume_norm, clamp)
    return _backward(grad_x, grad_log_det, *coupling, inverse=True)


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
    """Gradients of ``coupling_conv1x1``; what is between the two steps is computed again."""
    coupling = (x, params, mean_used, mean_given, volume_norm, clamp)
    grad_weight = allocation.empty(weight.shape, like=weight)
    grads = _backward(grad_z, grad_log_det, *coupling, False, weight, grad_weight)
    return *grads, grad_weight


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    y = dense(y, like=y)
    z = allocation.empty(y.shape, like=y)
    call("conv1x1", y, weight.contiguous(), z, _image(y))
    return z


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    y = dense(y, like=y)
    grad_z = dense(grad_z, like=y)
    grad_y, grad_weight = (
        allocation.empty(y.shape, like=y),
        allocation.empty(weight.shape, like=weight),
    )
    transposed = weight.t().contiguous()
    call("conv1x1_backward", grad_z, y, transposed, grad_y, grad_weight, _image(y))
    return grad_y, grad_weight


def conv_coupling_conv1x1(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    resample: str,
    clamp: float,
) -> Tensor:
    """The convolution, then :func:`coupling_conv1x1`."""
    params = conv2d(hidden, kernel, resample, -1)
    z, _, _ = coupling_conv1x1(x, params, mean, weight, "none", "sample", clamp)
    return z


def anomaly_map(
    latents: Sequence[Tensor],
    template: Sequence[Tensor],
    inverse_spread: Sequence[Tensor] | None = None,
    shift: Sequence[Tensor] | None = None,
    tolerance: int = 0,
) -> Tensor:
    """Composition of the channel means of the contrast, the least ones around each pixel."""
    levels = []
    for d, (latent, mean) in enumerate(zip(latents, template, strict=True)):
        z = dense(latent, like=latent)
        spread = None if inverse_spread is None else dense(inverse_spread[d], like=z)
        taken = None if shift is None else shift[d].to(z.dtype).contiguous()
        batch, _, height, width = z.shape
        level = allocation.empty((batch, height, width), like=z).unsqueeze(1)  # [B, 1, h_d, w_d]
        given = (z, dense(mean, like=z), spread, taken)
        if tolerance == 0:
            call("anomaly_level", *given, level, _image(z), mean.shape[0])
        else:
            call("anomaly_level_tolerant", *given, level, _image(z), mean.shape[0], tolerance)
        levels.append(level)
    composed = levels[-1]
    for residual in reversed(levels[:-1]):
        composed = pyramid_merge(composed, residual)
    return composed.squeeze(1)  # [B, h, w]


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    """Gradient of every latent level."""
    grad_level = grad_map.contiguous().unsqueeze(1)  # [B, 1, h, w]
    grads = []
    for level, (latent, mean) in enumerate(zip(latents, template, strict=True)):
        if level > 0:
            grad_level = pyramid_up_backward(grad_level)  # [B, 1, h_d, w_d]
        z = dense(latent, like=latent)
        grad = allocation.empty(z.shape, like=z)
        mean_batch = mean.shape[0]
        call(
            "anomaly_level_backward",
            grad_level,
            z,
            dense(mean, like=z),
            grad,
            _image(z),
            mean_batch,
        )
        grads.append(grad)
    return grads


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    image = image.contiguous()
    batch, height, width, channels = image.shape
    out = torch.empty(batch, channels, height, width, dtype=dtype)
    name = "normalize_uint8" if image.dtype == torch.uint8 else "normalize_uint16"
    mean, std = (v.to(torch.float32).contiguous() for v in (mean, std))
    call(name, image, mean, std, out, batch, height * width)
    return out


def _image(x: Tensor) -> Image:
    return Image(*x.shape, _channels_last(x))


def _channels_last(x: Tensor) -> bool:
    return memory_format(x) is torch.channels_last


def _coupling(
    x: Tensor, params: Tensor, mean_kind: int, mean_batch: int, clamp: float, inverse: bool
) -> Coupling:
    size = (*x.shape, *params.shape[2:])
    return Coupling(*size, _channels_last(x), inverse, mean_kind, mean_batch, clamp)


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
    volume_norm: str,
    statistics: str,
    clamp: float,
    inverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    x = dense(x, like=x)
    params = dense(params, like=x)
    y, log_det = allocation.empty(x.shape, like=x), allocation.empty((x.shape[0],), like=x)
    if mean is not None:
        values, kind, batch = _given_mean(mean, params, x)
        shape = _coupling(x, params, kind, batch, clamp, inverse)
        call("coupling", x, params, values, weight, y, log_det, shape)
        return y, allocation.empty((0,), like=x), log_det
    # The mean has one value a pixel or a channel: both memory formats store it alike.
    taken = allocation.empty(mean_shape(params, volume_norm, statistics), like=params)
    shape = _coupling(x, params, MEAN_KINDS[volume_norm], taken.shape[0], clamp, inverse)
    if volume_norm == "none":
        taken.zero_()
    elif x.shape[0] == 0:
        taken.fill_(torch.nan)
    elif volume_norm == "cvn" and x.shape[2:] == params.shape[2:]:
        call("coupling_pixel_mean", x, params, taken, weight, y, log_det, shape)
        return y, taken, log_det
    else:
        mean_of = "coupling_mean_pixel" if volume_norm == "cvn" else "coupling_mean_channel"
        call(mean_of, params, taken, shape)
    call("coupling", x, params, taken, weight, y, log_det, shape)
    return y, taken, log_det


def _backward(
    grad: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean_used: Tensor,
    mean_given: bool,
    volume_norm: str,
    clamp: float,
    inverse: bool,
    weight: Tensor | None = None,
    grad_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    x, original = dense(x, like=x), params
    params, grad = dense(params, like=x), dense(grad, like=x)
    transposed = None if weight is None else weight.t().contiguous()
    grad_x, grad_params = allocation.empty(x.shape, like=x), allocation.empty(params.shape, like=x)
    through = MEAN_NONE if mean_given else MEAN_KINDS[volume_norm]
    if mean_given:
        values, kind, batch = _given_mean(mean_used, params, x)
    else:
        values, kind, batch = mean_used.contiguous(), through, mean_used.shape[0]
    shape = _coupling(x, params, kind, batch, clamp, inverse)
    given = (grad, grad_log_det.contiguous(), x, params, values, transposed)
    call("coupling_backward", *given, grad_x, grad_params, grad_weight, shape, through)
    return grad_x, dense(grad_params, like=original)
