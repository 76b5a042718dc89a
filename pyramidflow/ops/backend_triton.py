"""The Triton backend: allocates results, launches the kernels of ``pyramidflow.kernels``.

Sums that cross programs are taken in two stages, the second by PyTorch: no atomics, so a result
repeats to the bit on one device.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyramidflow import kernels
from pyramidflow.ops import allocation
from pyramidflow.ops.convolution import conv2d as conv2d
from pyramidflow.ops.convolution import conv2d_backward as conv2d_backward
from pyramidflow.ops.dispatch import Status
from pyramidflow.ops.reference import SOFT_CLAMP_GAIN

Grid = Callable[[Mapping[str, Any]], tuple[int]]

INTERPRETED: bool = kernels.tuning.INTERPRETED
DEVICES = {"cuda", "xpu", "cpu"} if INTERPRETED else {"cuda", "xpu"}
DTYPES = {torch.float32, torch.float16, torch.bfloat16}

GRADIENT_CHUNKS = 256
"""Most partial sums of a 1×1 convolution's weight gradient."""

_DOT_TYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


@cache
def status() -> Status:
    """Whether Triton finds a device to compile for."""
    if INTERPRETED:
        return Status(
            True, f"Triton {triton.__version__}, in its interpreter (TRITON_INTERPRET=1)."
        )
    try:
        target = triton.runtime.driver.active.get_current_target()
    except RuntimeError as error:
        return Status(
            False,
            f"Triton {triton.__version__} finds no device to compile for ({error}): run on a GPU.",
        )
    return Status(
        True,
        f"Triton {triton.__version__} on {target.backend}:{target.arch}.",
        {"triton": triton.__version__, "target": f"{target.backend}:{target.arch}"},
    )


def pyramid_down(x: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """``D(x)``, and where the maximum of each cell was."""
    size = _halved(x)
    y = allocation.empty(size, like=x)
    index = allocation.empty(size if reduction == "max" else (0,), like=x, dtype=torch.uint8)
    if not y.numel():
        return y, index
    sizes = (x.shape[1], *x.shape[2:], *size[2:])
    with _device_of(x):
        if reduction == "max":
            kernels.pyramid.pyramid_down_max_forward_kernel[_strips(size)](
                x, y, index, x.stride(), y.stride(), index.stride(), *sizes
            )
        else:
            kernels.pyramid.pyramid_down_forward_kernel[_strips(size)](
                x, y, x.stride(), y.stride(), *sizes
            )
    return y, index


def pyramid_down_backward(
    grad_y: Tensor, index: Tensor, height: int, width: int, reduction: str
) -> Tensor:
    """``Gᵀ`` of the gradients, put back where their pixels were taken from."""
    grad_x = allocation.empty((*grad_y.shape[:2], height, width), like=grad_y)
    if not grad_x.numel():
        return grad_x
    grid = _strips(grad_y.shape)
    sizes = (grad_y.shape[1], height, width, *grad_y.shape[2:])
    with _device_of(grad_y):
        if reduction == "max":
            kernels.pyramid.pyramid_down_max_backward_kernel[grid](
                grad_y, index, grad_x, grad_y.stride(), index.stride(), grad_x.stride(), *sizes
            )
        else:
            kernels.pyramid.pyramid_down_backward_kernel[grid](
                grad_y, grad_x, grad_y.stride(), grad_x.stride(), *sizes
            )
    return grad_x


def pyramid_residual(fine: Tensor, coarse: Tensor) -> Tensor:
    """``fine − U(coarse)``."""
    return _pyramid_up(coarse, fine, -1.0, fine.dtype)


def pyramid_merge(coarse: Tensor, residual: Tensor) -> Tensor:
    """``U(coarse) + residual``."""
    return _pyramid_up(coarse, residual, 1.0, residual.dtype)


def _pyramid_up(coarse: Tensor, fine: Tensor, sign: float, dtype: torch.dtype) -> Tensor:
    out = allocation.empty(fine.shape, like=fine, dtype=dtype)
    if not out.numel():
        return out
    with _device_of(fine):
        kernels.pyramid.pyramid_up_forward_kernel[_strips(coarse.shape)](
            coarse,
            fine,
            out,
            coarse.stride(),
            fine.stride(),
            out.stride(),
            *fine.shape[1:],
            *coarse.shape[2:],
            SIGN=sign,
        )
    return out


def pyramid_up_backward(grad: Tensor) -> Tensor:
    """``Uᵀ grad``."""
    size = _halved(grad)
    grad_coarse = allocation.empty(size, like=grad)
    if not grad_coarse.numel():
        return grad_coarse
    with _device_of(grad):
        kernels.pyramid.pyramid_up_backward_kernel[_strips(size)](
            grad, grad_coarse, grad.stride(), grad_coarse.stride(), *grad.shape[1:], *size[2:]
        )
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
    return _couple(x, params, mean, volume_norm, statistics, clamp, inverse=False)


def affine_coupling_inverse(
    y: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``x = (y − t) ⊙ exp(−s)``, ``−Σ s``."""
    x, mean_used, log_det = _couple(y, params, mean, volume_norm, statistics, clamp, inverse=True)
    return x, mean_used, -log_det


def _couple(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
    inverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    y = allocation.empty(x.shape, like=x)
    subtracted, in_kernel = _mean_to_subtract(x, params, mean, volume_norm, statistics, clamp)
    sums = _channel_sums(x)
    if y.numel():
        read = _like_params(subtracted, params)
        with _device_of(x):
            kernels.coupling.affine_coupling_forward_kernel[_pixels(x)](
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
                *_scales(x, params),
                *_clamp(clamp),
                INVERSE=inverse,
                CHANNEL_MEAN=in_kernel,
                RESIZED=_resized(x, params),
                FLAT=_flat(x, params, read, y),
            )
    return y, _new_mean(params, mean, subtracted), sums.sum((1, 2))


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
    reduced = "none" if mean_given else volume_norm
    return _couple_backward(
        grad_y, grad_log_det, x, params, mean_used, reduced, statistics, clamp, inverse=False
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
    reduced = "none" if mean_given else volume_norm
    return _couple_backward(
        grad_x, grad_log_det, y, params, mean_used, reduced, statistics, clamp, inverse=True
    )


def _couple_backward(
    grad: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean: Tensor,
    reduced: str,
    statistics: str,
    clamp: float,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    grad_x = allocation.empty(x.shape, like=x)
    grad_params = allocation.empty(params.shape, like=params)
    if not params.numel():
        return grad_x, grad_params
    mean = _like_params(mean, params)
    resized = _resized(x, params)
    in_kernel = (reduced, statistics) == ("cvn", "sample") and not resized
    average = params.new_zeros((1, 1, 1, 1), dtype=torch.float32)
    if reduced != "none" and not in_kernel and x.numel():
        average = _average_gradient(
            grad, grad_log_det, x, params, mean, reduced, statistics, clamp, inverse
        )
    average = _like_params(average, params)
    row_first, row_repeats = _takers(x.shape[2], params.shape[2], x.device)
    column_first, column_repeats = _takers(x.shape[3], params.shape[3], x.device)
    with _device_of(x):
        kernels.coupling.affine_coupling_backward_kernel[_pixels(params)](
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
            *_clamp(clamp),
            INVERSE=inverse,
            CHANNEL_AVERAGE=in_kernel,
            RESIZED=resized,
            REPEATS_H=row_repeats,
            REPEATS_W=column_repeats,
            FLAT=_flat(params, mean, average, grad_params, *(() if resized else (grad, x, grad_x))),
        )
    return grad_x, grad_params


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    z = allocation.empty(y.shape, like=y)
    if not z.numel():
        return z
    batch, channels, height, width = y.shape

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = _tiles(height * width, blocks["BLOCK_P"]) * _tiles(channels, blocks["BLOCK_O"])
        return (batch * tiles,)

    with _device_of(y):
        kernels.conv1x1.invertible_conv1x1_forward_kernel[grid](
            y,
            weight,
            z,
            y.stride(),
            weight.stride(),
            z.stride(),
            *y.shape[1:],
            DOT_TYPE=_dot_type(y),
            FLAT=_flat(y, z),
        )
    return z


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    batch, channels, height, width = y.shape
    grad_y = allocation.dense(invertible_conv1x1(grad_z, weight.T), like=y)
    if not y.numel():
        return grad_y, torch.zeros_like(weight, memory_format=torch.contiguous_format)
    # A chunk is about 256 pixels at least, so that partial sums stay small beside what is read.
    chunks = min(GRADIENT_CHUNKS, _tiles(batch * height * width, 256))
    partial = allocation.empty((chunks, channels, channels), like=y, dtype=torch.float32)

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = _tiles(channels, blocks["BLOCK_O"]) * _tiles(channels, blocks["BLOCK_C"])
        return (chunks * tiles,)

    with _device_of(y):
        kernels.conv1x1.invertible_conv1x1_backward_kernel[grid](
            grad_z,
            y,
            partial,
            grad_z.stride(),
            y.stride(),
            channels,
            batch,
            height,
            width,
            chunks,
            DOT_TYPE=_dot_type(y),
            FLAT=_flat(grad_z, y),
        )
    return grad_y, partial.sum(0).to(weight.dtype)


def coupling_conv1x1(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    weight: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """``z = A (exp(s) ⊙ x + t)``, in one pass where a program can hold every channel."""
    if x.shape[1] > kernels.conv1x1.FUSED_CHANNELS or not x.numel():
        y, mean_used, log_det = affine_coupling(x, params, mean, volume_norm, statistics, clamp)
        return invertible_conv1x1(y, weight), mean_used, log_det
    z = allocation.empty(x.shape, like=x)
    subtracted, in_kernel = _mean_to_subtract(x, params, mean, volume_norm, statistics, clamp)
    sums = _channel_sums(x)
    read = _like_params(subtracted, params)
    with _device_of(x):
        kernels.conv1x1.coupling_conv1x1_forward_kernel[_pixels(x)](
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
            *_scales(x, params),
            *_clamp(clamp),
            DOT_TYPE=_dot_type(x),
            CHANNEL_MEAN=in_kernel,
            RESIZED=_resized(x, params),
            FLAT=_flat(x, params, read, z),
            BLOCK_C=max(16, triton.next_power_of_2(x.shape[1])),
        )
    return z, _new_mean(params, mean, subtracted), sums.sum((1, 2))


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
    """Gradients of ``coupling_conv1x1``; the coupling's output is computed again, not kept."""
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
    """``z = A (exp(s) ⊙ x + t)`` with the parameters ``kernel ∗ hidden``, which stay in registers.

    float32 products are TF32 where PyTorch's own convolutions are.
    """
    if x.shape[1] > kernels.conv_coupling.CHANNELS_AT_MOST or not x.numel():
        params = conv2d(hidden, kernel, resample, -1)
        return coupling_conv1x1(x, params, mean, weight, "none", "sample", clamp)[0]
    last = torch.channels_last
    x_last = x.contiguous(memory_format=last)
    z = torch.empty_like(x_last)
    if mean.shape[2:] != (1, 1):
        mean = mean.expand(-1, -1, *x.shape[2:])
    # One stride reaches every pixel of a mean: its rows follow each other, or it has one value.
    mean = mean.contiguous().expand(x.shape)
    with _device_of(x):
        kernels.conv_coupling.conv_coupling_conv1x1_forward_kernel[_pixels(x)](
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
            *_clamp(clamp),
            SIZE=kernel.shape[-1],
            STRIDE=2 if resample == "down" else 1,
            DOT_TYPE=_dot_type(x),
            PRECISION="tf32" if torch.backends.cudnn.allow_tf32 else "ieee",
            BLOCK_C=max(16, triton.next_power_of_2(x.shape[1])),
        )
    return allocation.dense(z, like=x)


def anomaly_map(latents: Sequence[Tensor], template: Sequence[Tensor]) -> Tensor:
    """Composition of the channel means of ``|z_d − z̄_d|``, float32 until the last level."""
    dtype = latents[0].dtype
    composed: Tensor | None = None
    for level in reversed(range(len(latents))):
        contrast = _contrast(latents[level], template[level])
        if composed is not None:
            out = dtype if level == 0 else torch.float32
            contrast = _pyramid_up(composed, contrast, 1.0, out)
        composed = contrast
    assert composed is not None
    return composed.squeeze(1).to(dtype)  # [B, h, w]


def _contrast(z: Tensor, template: Tensor) -> Tensor:
    batch, channels, height, width = z.shape
    contrast = allocation.empty((batch, 1, height, width), like=z, dtype=torch.float32)
    contrast = contrast.contiguous()
    if not contrast.numel():
        return contrast
    template = template.expand(batch, -1, -1, -1)
    with _device_of(z):
        kernels.anomaly_map.anomaly_map_forward_kernel[_pixels(z)](
            z,
            template,
            contrast,
            z.stride(),
            template.stride(),
            channels,
            height,
            width,
            FLAT=_flat(z, template),
        )
    return contrast


def anomaly_map_backward(
    grad_map: Tensor, latents: Sequence[Tensor], template: Sequence[Tensor]
) -> list[Tensor]:
    """Gradient of every latent level, the map's brought down by ``Uᵀ`` in float32."""
    grad = grad_map.unsqueeze(1).to(torch.float32).contiguous()  # [B, 1, h, w]
    grads: list[Tensor] = []
    for z, mean in zip(latents, template, strict=True):
        if grads:
            grad = pyramid_up_backward(grad)  # [B, 1, h_d, w_d]
        grad_z = allocation.empty(z.shape, like=z)
        grads.append(grad_z)
        if not z.numel():
            continue
        mean = mean.expand(z.shape)
        with _device_of(z):
            kernels.anomaly_map.anomaly_map_backward_kernel[_pixels(z)](
                grad,
                z,
                mean,
                grad_z,
                z.stride(),
                mean.stride(),
                grad_z.stride(),
                *z.shape[1:],
                FLAT=_flat(z, mean, grad_z),
            )
    return grads


def normalize_image(image: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """``(image / full scale − mean) / std``."""
    batch, height, width, channels = image.shape
    out = torch.empty((batch, channels, height, width), dtype=dtype, device=image.device)
    if not out.numel():
        return out
    with _device_of(image):
        kernels.normalize.normalize_image_forward_kernel[
            lambda blocks: (batch * _tiles(height * width, blocks["BLOCK_P"]),)
        ](
            image,
            mean.contiguous(),
            std.contiguous(),
            out,
            image.stride(),
            height,
            width,
            float(torch.iinfo(image.dtype).max),
        )
    return out


def _mean_to_subtract(
    x: Tensor,
    params: Tensor,
    mean: Tensor | None,
    volume_norm: str,
    statistics: str,
    clamp: float,
) -> tuple[Tensor, bool]:
    """What the kernel reads as the mean, float32 if new; or where it writes it (``True``)."""
    batch, channels = params.shape[0], params.shape[1] // 2
    if mean is not None:
        return mean, False
    if volume_norm == "none":
        return params.new_zeros((1, 1, 1, 1), dtype=torch.float32), False
    if (volume_norm, statistics) == ("cvn", "sample") and not _resized(x, params) and x.numel():
        size = (batch, 1, *params.shape[2:])
        return torch.empty(size, dtype=torch.float32, device=params.device), True
    of_channels, of_pixels = _sums_buffers(params, channels)
    if of_channels.numel() and of_pixels.numel():
        with _device_of(params):
            kernels.coupling.soft_clamp_sums_forward_kernel[_pixels(params)](
                params,
                of_channels,
                of_pixels,
                params.stride(),
                of_pixels.stride(),
                channels,
                *params.shape[2:],
                *_clamp(clamp),
                FLAT=_flat(params),
            )
    else:
        of_channels.zero_()
        of_pixels.zero_()
    return _averages(of_channels, of_pixels, params, volume_norm, statistics), False


def _average_gradient(
    grad: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    mean: Tensor,
    volume_norm: str,
    statistics: str,
    clamp: float,
    inverse: bool,
) -> Tensor:
    """What reaches the mean, averaged over what the mean was taken over."""
    of_channels, of_pixels = _sums_buffers(x, x.shape[1])
    with _device_of(x):
        kernels.coupling.affine_coupling_sums_backward_kernel[_pixels(x)](
            grad,
            grad_log_det.contiguous(),
            x,
            params,
            mean,
            of_channels,
            of_pixels,
            grad.stride(),
            x.stride(),
            params.stride(),
            mean.stride(),
            of_pixels.stride(),
            *x.shape[1:],
            *params.shape[2:],
            *_scales(x, params),
            *_clamp(clamp),
            INVERSE=inverse,
            RESIZED=_resized(x, params),
            FLAT=_flat(grad, x, params, mean),
        )
    if volume_norm == "cvn" and _resized(x, params):
        of_channels = _at_parameters(of_channels, params)
    return _averages(of_channels, of_pixels, params, volume_norm, statistics)


def _sums_buffers(x: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    tiles = _tiles(x.shape[2] * x.shape[3], kernels.coupling.SUMMED_PIXELS)
    of_channels = (x.shape[0], 1, *x.shape[2:])
    of_pixels = (x.shape[0], channels, tiles)
    return (
        torch.empty(of_channels, dtype=torch.float32, device=x.device),
        torch.empty(of_pixels, dtype=torch.float32, device=x.device),
    )


def _averages(
    of_channels: Tensor, of_pixels: Tensor, params: Tensor, volume_norm: str, statistics: str
) -> Tensor:
    if volume_norm == "cvn":
        average = of_channels / (params.shape[1] // 2)  # [B, 1, H', W']
    else:
        average = of_pixels.sum(2)[..., None, None] / (params.shape[2] * params.shape[3])
    return average.mean(0, keepdim=True) if statistics == "batch" else average


def _at_parameters(of_channels: Tensor, params: Tensor) -> Tensor:
    """Sums at the level's pixels ``[B, 1, H, W]``, added where their parameters are."""
    for axis in (2, 3):
        size, params_size = of_channels.shape[axis], params.shape[axis]
        first, repeats = _takers(size, params_size, params.device)
        total = torch.zeros((), dtype=torch.float32, device=params.device)
        for repeat in range(repeats):
            taker = first[:-1] + repeat
            taken = (taker < first[1:]).view((-1, 1) if axis == 2 else (-1,))
            values = of_channels.index_select(axis, taker.clamp(max=size - 1))
            total = total + torch.where(taken, values, 0.0)
        of_channels = total
    return of_channels  # [B, 1, H', W']


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


def _device_of(x: Tensor) -> AbstractContextManager[None]:
    """Launch on the device of ``x``, whichever is the current one."""
    guard: AbstractContextManager[None] = torch.cuda.device_of(x)  # type: ignore[no-untyped-call]
    return guard


def _halved(x: Tensor) -> tuple[int, int, int, int]:
    batch, channels, height, width = x.shape
    return batch, channels, (height + 1) // 2, (width + 1) // 2


def _tiles(extent: int, block: int) -> int:
    return -(-extent // block)


def _strips(coarse: Sequence[int]) -> Grid:
    batch, channels, height, width = coarse

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = _tiles(channels, blocks["BLOCK_C"]) * _tiles(height, blocks["BLOCK_H"])
        return (batch * tiles * _tiles(width, blocks["BLOCK_W"]),)

    return grid


def _pixels(x: Tensor) -> Grid:
    batch, _, height, width = x.shape
    return lambda blocks: (batch * _tiles(height * width, blocks["BLOCK_P"]),)


def _flat(*tensors: Tensor) -> bool:
    return all(x.shape[2] == 1 or x.stride(2) == x.stride(3) * x.shape[3] for x in tensors)


def _resized(x: Tensor, params: Tensor) -> bool:
    return x.shape[2:] != params.shape[2:]


def _scales(x: Tensor, params: Tensor) -> tuple[float, float]:
    return params.shape[2] / x.shape[2], params.shape[3] / x.shape[3]


def _clamp(clamp: float) -> tuple[float, float]:
    return clamp * SOFT_CLAMP_GAIN, 1.0 / clamp


def _dot_type(x: Tensor) -> Any:
    return tl.float32 if INTERPRETED else _DOT_TYPES[x.dtype]


@cache
def _sources(size: int, params_size: int, device: torch.device) -> Tensor:
    """Parameter that each pixel of an axis takes: ``⌊i · scale⌋`` in float32, as PyTorch has it."""
    index = torch.arange(size, device=device, dtype=torch.float32)
    scale = torch.tensor(params_size / max(size, 1), dtype=torch.float32)
    return (index * scale.to(device)).to(torch.int64).clamp(max=params_size - 1)


@cache
def _takers(size: int, params_size: int, device: torch.device) -> tuple[Tensor, int]:
    """First pixel that takes each parameter or a later one, and how many take one at most."""
    if size == params_size:
        every = torch.arange(params_size + 1, device=device, dtype=torch.int32)
        return every, 1
    parameters = torch.arange(params_size + 1, device=device)
    first = torch.searchsorted(_sources(size, params_size, device), parameters)
    repeats = max(1, _tiles(size, params_size))
    return first.to(torch.int32), repeats
