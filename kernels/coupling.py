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

import triton
import triton.language as tl

from .pixels import KEY, PIXEL_PRUNING, PIXEL_TILES, locate_pixels, pixel_offset
from .tuning import autotune

HALF_PI = tl.constexpr(1.5707963267948966)


@triton.jit
def nearest_offset(pixel, width, params_height, params_width, row_scale, column_scale, strides):
    """Offset of the parameter that each pixel of a level of another size takes."""
    row = ((pixel // width).to(tl.float32) * row_scale).to(tl.int32)
    column = ((pixel % width).to(tl.float32) * column_scale).to(tl.int32)
    row = tl.minimum(row, params_height - 1).to(tl.int64)
    column = tl.minimum(column, params_width - 1).to(tl.int64)
    return row * strides[2] + column * strides[3]


@triton.jit
def arctangent(x):
    """``atan(x)``, relative error ≤ 2e-7.

    ``atan(x) = x P(x²)`` for ``|x| ≤ 1`` with ``P`` of degree 8, minimax in relative error (1.5e-8,
    Lawson's iteration on [0, 1]); ``sign(x) π/2 − atan(1/x)`` beyond.
    """
    beyond = tl.abs(x) > 1.0
    u = tl.where(beyond, 1.0 / tl.where(beyond, x, 1.0), x)
    z = u * u
    p = z * 0.0028498894535005093 - 0.016068629920482635
    p = p * z + 0.04269152507185936
    p = p * z - 0.0750429555773735
    p = p * z + 0.10640934854745865
    p = p * z - 0.14203645288944244
    p = p * z + 0.1999261975288391
    p = p * z - 0.3333307206630707
    r = u * (p * z + 1.0)
    return tl.where(beyond, tl.where(x > 0.0, HALF_PI, -HALF_PI) - r, r)


@triton.jit
def soft_clamp(s0, clamp_scale, clamp_inverse):
    """``v = clamp_scale · atan(s0 · clamp_inverse)``."""
    return clamp_scale * arctangent(s0 * clamp_inverse)


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


@autotune(configs=PIXEL_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
@triton.jit
def affine_coupling_forward_kernel(
    x_ptr,
    params_ptr,
    mean_ptr,
    y_ptr,
    sums_ptr,
    x_strides,
    params_strides,
    mean_strides,
    y_strides,
    channels,
    height,
    width,
    params_height,
    params_width,
    row_scale,
    column_scale,
    clamp_scale,
    clamp_inverse,
    INVERSE: tl.constexpr,
    CHANNEL_MEAN: tl.constexpr,
    RESIZED: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``y = e^s x + t`` (inverse: ``(x − t) e^{−s}``), ``sums[b, p] = Σ_c s``.

    ``CHANNEL_MEAN``: ``m[b, p] = mean_c v[b, c, p]`` is taken here and written to ``mean``; else
    ``m`` is read from it. Bytes: reads ``x``, ``s0``, ``t`` once (``s0`` a second time from cache
    for the mean) and a mean that is not broadcast, writes ``y``, the mean if taken here, and one
    float for each pixel.
    """
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    x_ptr = x_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, FLAT)
    y_ptr = y_ptr + batch * y_strides[0] + pixel_offset(pixel, width, y_strides, FLAT)
    params_ptr = params_ptr + batch * params_strides[0]
    mean_ptr = mean_ptr + batch * mean_strides[0]
    if RESIZED:
        params_ptr = params_ptr + nearest_offset(
            pixel, width, params_height, params_width, row_scale, column_scale, params_strides
        )
        mean_ptr = mean_ptr + nearest_offset(
            pixel, width, params_height, params_width, row_scale, column_scale, mean_strides
        )
    else:
        params_ptr = params_ptr + pixel_offset(pixel, width, params_strides, FLAT)
        mean_ptr = mean_ptr + pixel_offset(pixel, width, mean_strides, FLAT)
    channel_mean = tl.zeros((1, BLOCK_P), tl.float32)
    if CHANNEL_MEAN:
        total = tl.zeros((BLOCK_P,), tl.float32)
        for first in range(0, channels, BLOCK_C):
            channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
            mask = (channel < channels) & mask_pixel
            s0 = tl.load(params_ptr + channel * params_strides[1], mask=mask, other=0.0)
            total += tl.sum(soft_clamp(s0.to(tl.float32), clamp_scale, clamp_inverse), 0)
        channel_mean = (total / channels)[None, :]
        tl.store(mean_ptr, channel_mean, mask=mask_pixel)
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
        mask = (channel < channels) & mask_pixel
        s0 = tl.load(params_ptr + channel * params_strides[1], mask=mask, other=0.0).to(tl.float32)
        t = tl.load(params_ptr + (channels + channel) * params_strides[1], mask=mask, other=0.0)
        x = tl.load(x_ptr + channel * x_strides[1], mask=mask, other=0.0).to(tl.float32)
        if CHANNEL_MEAN:
            mean = channel_mean
        else:
            mean = tl.load(mean_ptr + channel * mean_strides[1], mask=mask, other=0.0)
            mean = mean.to(tl.float32)
        s = soft_clamp(s0, clamp_scale, clamp_inverse) - mean
        y = transform(x, s, t.to(tl.float32), INVERSE)
        tl.store(y_ptr + channel * y_strides[1], y, mask=mask)
        total += tl.sum(tl.where(mask, s, 0.0), 0)
    tl.store(sums_ptr + batch * height * width + pixel, total[None, :], mask=mask_pixel)


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


@autotune(configs=PIXEL_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
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
    grad_strides,
    x_strides,
    params_strides,
    mean_strides,
    average_strides,
    grad_x_strides,
    grad_params_strides,
    channels,
    height,
    width,
    clamp_scale,
    clamp_inverse,
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
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    grad_ptr = grad_ptr + batch * grad_strides[0]
    x_ptr = x_ptr + batch * x_strides[0]
    grad_x_ptr = grad_x_ptr + batch * grad_x_strides[0]
    params_ptr = params_ptr + batch * params_strides[0]
    params_ptr = params_ptr + pixel_offset(pixel, width, params_strides, FLAT)
    mean_ptr = mean_ptr + batch * mean_strides[0] + pixel_offset(pixel, width, mean_strides, FLAT)
    average_ptr = average_ptr + batch * average_strides[0]
    average_ptr = average_ptr + pixel_offset(pixel, width, average_strides, FLAT)
    grad_params_ptr = grad_params_ptr + batch * grad_params_strides[0]
    grad_params_ptr = grad_params_ptr + pixel_offset(pixel, width, grad_params_strides, FLAT)
    grad_log_det = tl.load(grad_log_det_ptr + batch).to(tl.float32)
    channel_average = tl.zeros((1, BLOCK_P), tl.float32)
    if CHANNEL_AVERAGE:
        total = tl.zeros((BLOCK_P,), tl.float32)
        pixel_grad_ptr = grad_ptr + pixel_offset(pixel, width, grad_strides, FLAT)
        pixel_x_ptr = x_ptr + pixel_offset(pixel, width, x_strides, FLAT)
        for first in range(0, channels, BLOCK_C):
            channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
            mask = (channel < channels) & mask_pixel
            s0 = tl.load(params_ptr + channel * params_strides[1], mask=mask, other=0.0)
            mean = tl.load(mean_ptr + channel * mean_strides[1], mask=mask, other=0.0)
            x = tl.load(pixel_x_ptr + channel * x_strides[1], mask=mask, other=0.0)
            grad = tl.load(pixel_grad_ptr + channel * grad_strides[1], mask=mask, other=0.0)
            x = x.to(tl.float32)
            t = x
            if INVERSE:
                offset_t = (channels + channel) * params_strides[1]
                t = tl.load(params_ptr + offset_t, mask=mask, other=0.0).to(tl.float32)
            s = soft_clamp(s0.to(tl.float32), clamp_scale, clamp_inverse) - mean.to(tl.float32)
            _, grad_s, _ = gradients(grad.to(tl.float32), grad_log_det, x, s, t, INVERSE)
            total += tl.sum(tl.where(mask, grad_s, 0.0), 0)
        channel_average = (total / channels)[None, :]
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
        mask = (channel < channels) & mask_pixel
        s0 = tl.load(params_ptr + channel * params_strides[1], mask=mask, other=0.0).to(tl.float32)
        mean = tl.load(mean_ptr + channel * mean_strides[1], mask=mask, other=0.0).to(tl.float32)
        s = soft_clamp(s0, clamp_scale, clamp_inverse) - mean
        t = s
        if INVERSE:
            offset_t = (channels + channel) * params_strides[1]
            t = tl.load(params_ptr + offset_t, mask=mask, other=0.0).to(tl.float32)
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
                offset_grad += channel * grad_strides[1]
                x = tl.load(x_ptr + channel * x_strides[1] + offset_x, mask=mask_level, other=0.0)
                grad = tl.load(grad_ptr + offset_grad, mask=mask_level, other=0.0)
                grad_input, step_s, step_t = gradients(
                    grad.to(tl.float32), grad_log_det, x.to(tl.float32), s, t, INVERSE
                )
                offset_grad_x += channel * grad_x_strides[1]
                tl.store(grad_x_ptr + offset_grad_x, grad_input, mask=mask_level)
                grad_s += tl.where(mask_level, step_s, 0.0)
                grad_t += tl.where(mask_level, step_t, 0.0)
        if CHANNEL_AVERAGE:
            average = channel_average
        else:
            average = tl.load(average_ptr + channel * average_strides[1], mask=mask, other=0.0)
            average = average.to(tl.float32)
        u = s0 * clamp_inverse
        grad_s0 = (grad_s - average) * (clamp_scale * clamp_inverse) / (1.0 + u * u)
        offset_t = (channels + channel) * grad_params_strides[1]
        tl.store(grad_params_ptr + channel * grad_params_strides[1], grad_s0, mask=mask)
        tl.store(grad_params_ptr + offset_t, grad_t, mask=mask)
