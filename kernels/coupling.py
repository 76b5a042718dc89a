"""Affine coupling, both directions, with volume normalisation.

``s = v − m``, ``v = gain · clamp · atan(s0 / clamp)``, and then ``y = e^s x + t`` or, inverted,
``x = (y − t) e^{−s}``. The two directions share loads, masks and reductions and differ in the one
line of :func:`transform` and of its gradient, so they share kernels too, ``INVERSE`` chooses when
they are compiled.

A program owns all channels of its pixels (:mod:`pyramidflow.kernels.pixels`). The mean over
channels of a sample (CVN) is therefore taken in the program that uses it; any other mean comes from
the sums of :mod:`pyramidflow.kernels.coupling_sums`. A mean or an average that is broadcast has
stride 0.

Where the parameters have another size than the level, pixel ``i`` of the level takes parameter
``min(⌊i · scale⌋, size − 1)`` along each axis.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from .clamp import ClampFactors, soft_clamp
from .launch import device_of, is_flat, level_sizes, pixel_grid, strides_of
from .pixels import (
    load_float,
    locate_pixels,
    next_channels,
    pixel_offset,
    sample_pixels,
    tuned_on_pixels,
)


class Coupling(NamedTuple):
    """What the kernels of a coupling read.

    Attributes:
        x: the level ``[B, C, H, W]``.
        params: ``[B, 2C, H', W']``.
        mean: ``[B, C, H', W']``; or where it is written, if its kernel takes it.
        clamp: factors of the soft clamp.
        inverse: whether the coupling is undone.
    """

    x: Tensor
    params: Tensor
    mean: Tensor
    clamp: ClampFactors
    inverse: bool

    @property
    def is_resized(self) -> bool:
        """Whether the parameters have another size than the level."""
        return self.x.shape[2:] != self.params.shape[2:]

    @property
    def resizing(self) -> tuple[int, int, float, float]:
        """Height and width of the parameters, and their pixels for one of the level, each way."""
        height, width = self.params.shape[2:]
        return height, width, height / self.x.shape[2], width / self.x.shape[3]


@triton.jit
def taken_pixels(
    level_ptr, strides, batch, pixel, width, resize, RESIZED: tl.constexpr, FLAT: tl.constexpr
):
    """Pointers to the parameter that each pixel of the level takes, in a sample's first channel."""
    if RESIZED:
        return level_ptr + batch * strides[0] + nearest_offset(pixel, width, resize, strides)
    return sample_pixels(level_ptr, strides, batch, pixel, width, FLAT)


@triton.jit
def nearest_offset(pixel, width, resize, strides):
    """Offset of the parameter that each pixel of a level of another size takes."""
    params_height, params_width, row_scale, column_scale = resize
    row = ((pixel // width).to(tl.float32) * row_scale).to(tl.int32)
    column = ((pixel % width).to(tl.float32) * column_scale).to(tl.int32)
    row = tl.minimum(row, params_height - 1).to(tl.int64)
    column = tl.minimum(column, params_width - 1).to(tl.int64)
    return row * strides[2] + column * strides[3]


@triton.jit
def transform(x, s, t, INVERSE: tl.constexpr):
    """``e^s x + t``, or inverted ``(x − t) e^{−s}``."""
    if INVERSE:
        return (x - t) * tl.exp(-s)
    return tl.exp(s) * x + t


@triton.jit
def gradients(grad, grad_log_det, x, s, t, INVERSE: tl.constexpr):
    """Gradients of the input ``x``, ``s`` and ``t`` from those of the output and of ``±Σ s``."""
    if INVERSE:
        grad_input = grad * tl.exp(-s)
        return grad_input, -(grad_input * (x - t) + grad_log_det), -grad_input
    grad_input = grad * tl.exp(s)
    return grad_input, grad_input * x + grad_log_det, grad


@triton.jit
def load_shift(params_ptr, strides, channels, channel, mask, default, NEEDED: tl.constexpr):
    """``t`` as float32, where it is needed."""
    if NEEDED:
        return load_float(params_ptr + (channels + channel) * strides[1], mask)
    return default


@tuned_on_pixels
@triton.jit
def affine_coupling_forward_kernel(
    x_ptr,
    params_ptr,
    mean_ptr,
    y_ptr,
    sums_ptr,
    strides,
    sizes,
    resize,
    clamp,
    INVERSE: tl.constexpr,
    CHANNEL_MEAN: tl.constexpr,
    WITH_SUMS: tl.constexpr,
    RESIZED: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``y = e^s x + t`` (inverse: ``(x − t) e^{−s}``), ``sums[b, p] = Σ_c s``.

    ``CHANNEL_MEAN``: ``m[b, p] = mean_c v[b, c, p]`` is taken here and written to ``mean``; else
    ``m`` is read from it. Bytes: reads ``x``, ``s0``, ``t`` once (``s0`` a second time from cache
    for the mean) and a mean that is not broadcast, writes ``y``, the mean if taken here, and one
    float for each pixel ``WITH_SUMS``.
    """
    x_strides, params_strides, mean_strides, y_strides = strides
    channels, height, width = sizes
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    x_ptr = sample_pixels(x_ptr, x_strides, batch, pixel, width, FLAT)
    y_ptr = sample_pixels(y_ptr, y_strides, batch, pixel, width, FLAT)
    params_ptr = taken_pixels(
        params_ptr, params_strides, batch, pixel, width, resize, RESIZED, FLAT
    )
    mean_ptr = taken_pixels(mean_ptr, mean_strides, batch, pixel, width, resize, RESIZED, FLAT)
    channel_mean = tl.zeros((1, BLOCK_P), tl.float32)
    if CHANNEL_MEAN:
        total = tl.zeros((BLOCK_P,), tl.float32)
        for first in range(0, channels, BLOCK_C):
            channel, mask = next_channels(first, channels, mask_pixel, BLOCK_C)
            s0 = load_float(params_ptr + channel * params_strides[1], mask)
            total += tl.sum(soft_clamp(s0, clamp), 0)
        channel_mean = (total / channels)[None, :]
        tl.store(mean_ptr, channel_mean, mask=mask_pixel)
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel, mask = next_channels(first, channels, mask_pixel, BLOCK_C)
        s0 = load_float(params_ptr + channel * params_strides[1], mask)
        t = load_float(params_ptr + (channels + channel) * params_strides[1], mask)
        x = load_float(x_ptr + channel * x_strides[1], mask)
        if CHANNEL_MEAN:
            mean = channel_mean
        else:
            mean = load_float(mean_ptr + channel * mean_strides[1], mask)
        s = soft_clamp(s0, clamp) - mean
        tl.store(y_ptr + channel * y_strides[1], transform(x, s, t, INVERSE), mask=mask)
        if WITH_SUMS:
            total += tl.sum(tl.where(mask, s, 0.0), 0)
    if WITH_SUMS:
        tl.store(sums_ptr + batch * height * width + pixel, total[None, :], mask=mask_pixel)


def launch_coupling(
    kernel: Any, coupling: Coupling, *others: Tensor, sums: Tensor | None, **constants: Any
) -> None:
    """Launch a kernel that couples.

    Args:
        kernel: takes what the coupling reads, the others, the sums, and their layout.
        coupling: what is read.
        others: a matrix, if there is one, and the result.
        sums: of the log-scale over channels, ``[B, H, W]`` in float32, dense; ``None`` for none.
        constants: that the kernel is compiled with.
    """
    x, params, mean, clamp, _ = coupling
    strided = (x, params, mean, *others)
    with device_of(x):
        kernel[pixel_grid(x)](
            *(*strided, x if sums is None else sums, strides_of(*strided)),
            *(level_sizes(x), coupling.resizing, clamp),
            **constants,
            WITH_SUMS=sums is not None,
            RESIZED=coupling.is_resized,
            FLAT=is_flat(*(tensor for tensor in strided if tensor.dim() == 4)),
        )


def affine_coupling_forward(
    coupling: Coupling, y: Tensor, sums: Tensor | None, *, channel_mean: bool
) -> None:
    """Write ``y [B, C, H, W]``, the sums and, where it is taken here, the mean.

    Args:
        coupling: what is read.
        y: the result.
        sums: see :func:`launch_coupling`.
        channel_mean: whether the mean over channels is taken here.
    """
    constants = {"INVERSE": coupling.inverse, "CHANNEL_MEAN": channel_mean}
    launch_coupling(affine_coupling_forward_kernel, coupling, y, sums=sums, **constants)


@triton.jit
def log_scale_gradient(
    read, strides, channels, channel, mask, grad_log_det, clamp, INVERSE: tl.constexpr
):
    """``∂s`` of some channels, zero where there are none.

    ``read`` are pointers to the first channel of the level, the result's gradient, the parameters
    and the mean; ``strides`` begin with theirs.
    """
    x_ptr, grad_ptr, params_ptr, mean_ptr = read
    s0 = load_float(params_ptr + channel * strides[2][1], mask)
    mean = load_float(mean_ptr + channel * strides[3][1], mask)
    x = load_float(x_ptr + channel * strides[0][1], mask)
    grad = load_float(grad_ptr + channel * strides[1][1], mask)
    t = load_shift(params_ptr, strides[2], channels, channel, mask, x, INVERSE)
    s = soft_clamp(s0, clamp) - mean
    _, grad_s, _ = gradients(grad, grad_log_det, x, s, t, INVERSE)
    return tl.where(mask, grad_s, 0.0)


@triton.jit
def _level_pixel(
    pixel, mask_pixel, params_width, row_first_ptr, column_first_ptr, at_row, at_column
):
    """The ``(at_row, at_column)``-th pixel of the level that takes each parameter, if any."""
    params_row = pixel // params_width
    params_column = pixel % params_width
    row = tl.load(row_first_ptr + params_row, mask=mask_pixel, other=0) + at_row
    column = tl.load(column_first_ptr + params_column, mask=mask_pixel, other=0) + at_column
    row_end = tl.load(row_first_ptr + params_row + 1, mask=mask_pixel, other=0)
    column_end = tl.load(column_first_ptr + params_column + 1, mask=mask_pixel, other=0)
    return row.to(tl.int64), column.to(tl.int64), (row < row_end) & (column < column_end)


@tuned_on_pixels
@triton.jit
def affine_coupling_backward_kernel(
    grad_ptr,
    grad_log_det_ptr,
    x_ptr,
    params_ptr,
    mean_ptr,
    average_ptr,
    row_first_ptr,
    column_first_ptr,
    grad_x_ptr,
    grad_params_ptr,
    strides,
    sizes,
    clamp,
    INVERSE: tl.constexpr,
    CHANNEL_AVERAGE: tl.constexpr,
    RESIZED: tl.constexpr,
    REPEATS_H: tl.constexpr,
    REPEATS_W: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """Gradients of the coupling: ``∂x = grad e^s``, ``∂t = grad``, ``∂s0 = (∂s − a) v'``.

    ``∂s = ∂x · x + ∂logdet``, ``v' = gain / (1 + (s0 / clamp)²)``; inverse: ``∂x = grad e^{−s}``,
    ``∂t = −∂x``, ``∂s = −∂x · (x − t) − ∂logdet``. ``a`` is what the mean sends back: the average
    of ``∂s`` over what the mean was taken over, here over channels if ``CHANNEL_AVERAGE``, else
    read (0 for a given mean). ``height × width`` is the parameters' size; a parameter that
    ``RESIZED`` skips has ``∂s = ∂t = 0``. Bytes: reads the gradient, ``x`` and ``s0`` (inverse:
    ``t``) once (a second time from cache for the average) and a mean or average that is not
    broadcast, writes ``∂x``, ``∂s0``, ``∂t``.
    """
    x_strides, grad_strides, params_strides, mean_strides, average_strides, _, _ = strides
    grad_x_strides, grad_params_strides = strides[5], strides[6]
    channels, height, width = sizes
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    grad_ptr = grad_ptr + batch * grad_strides[0]
    x_ptr = x_ptr + batch * x_strides[0]
    grad_x_ptr = grad_x_ptr + batch * grad_x_strides[0]
    params_ptr = sample_pixels(params_ptr, params_strides, batch, pixel, width, FLAT)
    mean_ptr = sample_pixels(mean_ptr, mean_strides, batch, pixel, width, FLAT)
    average_ptr = sample_pixels(average_ptr, average_strides, batch, pixel, width, FLAT)
    grad_params_ptr = sample_pixels(grad_params_ptr, grad_params_strides, batch, pixel, width, FLAT)
    grad_log_det = tl.load(grad_log_det_ptr + batch).to(tl.float32)
    channel_average = tl.zeros((1, BLOCK_P), tl.float32)
    if CHANNEL_AVERAGE:
        total = tl.zeros((BLOCK_P,), tl.float32)
        read = (
            x_ptr + pixel_offset(pixel, width, x_strides, FLAT),
            grad_ptr + pixel_offset(pixel, width, grad_strides, FLAT),
            params_ptr,
            mean_ptr,
        )
        for first in range(0, channels, BLOCK_C):
            channel, mask = next_channels(first, channels, mask_pixel, BLOCK_C)
            grad_s = log_scale_gradient(
                read, strides, channels, channel, mask, grad_log_det, clamp, INVERSE
            )
            total += tl.sum(grad_s, 0)
        channel_average = (total / channels)[None, :]
    for first in range(0, channels, BLOCK_C):
        channel, mask = next_channels(first, channels, mask_pixel, BLOCK_C)
        s0 = load_float(params_ptr + channel * params_strides[1], mask)
        s = soft_clamp(s0, clamp) - load_float(mean_ptr + channel * mean_strides[1], mask)
        t = load_shift(params_ptr, params_strides, channels, channel, mask, s, INVERSE)
        grad_s = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
        grad_t = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
        for at_row in tl.static_range(REPEATS_H):
            for at_column in tl.static_range(REPEATS_W):
                mask_level = mask
                if RESIZED:
                    row, column, taken = _level_pixel(
                        pixel, mask_pixel, width, row_first_ptr, column_first_ptr, at_row, at_column
                    )
                    mask_level = mask & taken
                    offset_grad = row * grad_strides[2] + column * grad_strides[3]
                    offset_x = row * x_strides[2] + column * x_strides[3]
                    offset_grad_x = row * grad_x_strides[2] + column * grad_x_strides[3]
                else:
                    offset_grad = pixel_offset(pixel, width, grad_strides, FLAT)
                    offset_x = pixel_offset(pixel, width, x_strides, FLAT)
                    offset_grad_x = pixel_offset(pixel, width, grad_x_strides, FLAT)
                x = load_float(x_ptr + channel * x_strides[1] + offset_x, mask_level)
                grad = load_float(grad_ptr + channel * grad_strides[1] + offset_grad, mask_level)
                grad_input, step_s, step_t = gradients(grad, grad_log_det, x, s, t, INVERSE)
                offset_grad_x += channel * grad_x_strides[1]
                tl.store(grad_x_ptr + offset_grad_x, grad_input, mask=mask_level)
                grad_s += tl.where(mask_level, step_s, 0.0)
                grad_t += tl.where(mask_level, step_t, 0.0)
        if CHANNEL_AVERAGE:
            average = channel_average
        else:
            average = load_float(average_ptr + channel * average_strides[1], mask)
        u = s0 * clamp[1]
        grad_s0 = (grad_s - average) * (clamp[0] * clamp[1]) / (1.0 + u * u)
        offset_t = (channels + channel) * grad_params_strides[1]
        tl.store(grad_params_ptr + channel * grad_params_strides[1], grad_s0, mask=mask)
        tl.store(grad_params_ptr + offset_t, grad_t, mask=mask)


def affine_coupling_backward(
    coupling: Coupling,
    grads: tuple[Tensor, Tensor],
    average: Tensor,
    takers: tuple[tuple[Tensor, int], tuple[Tensor, int]],
    results: tuple[Tensor, Tensor],
    *,
    channel_average: bool,
) -> None:
    """Write the gradients of the level and of the parameters.

    Args:
        coupling: what was computed.
        grads: of the result ``[B, C, H, W]`` and of the log-determinants ``[B]``, dense.
        average: of the gradients that reach the mean, ``[B, C, H', W']``.
        takers: for rows and columns the first pixel that takes each parameter or a later one
            (int32), and how many take one at most.
        results: gradients of ``x`` and ``params``.
        channel_average: whether the average over channels is taken here.
    """
    x, params, mean, clamp, inverse = coupling
    (grad, grad_log_det), (grad_x, grad_params) = grads, results
    (row_first, row_repeats), (column_first, column_repeats) = takers
    of_level = () if coupling.is_resized else (grad, x, grad_x)
    with device_of(x):
        affine_coupling_backward_kernel[pixel_grid(params)](
            *(grad, grad_log_det, x, params, mean, average, row_first, column_first),
            *(grad_x, grad_params),
            strides_of(x, grad, params, mean, average, grad_x, grad_params),
            *((x.shape[1], *params.shape[2:]), clamp),
            INVERSE=inverse,
            CHANNEL_AVERAGE=channel_average,
            RESIZED=coupling.is_resized,
            REPEATS_H=row_repeats,
            REPEATS_W=column_repeats,
            FLAT=is_flat(params, mean, average, grad_params, *of_level),
        )
