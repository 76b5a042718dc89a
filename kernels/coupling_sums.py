"""Sums that a coupling's mean comes from, and the sums of the gradients that reach it.

Sums across programs go through memory and are added in a fixed order, so results repeat to the bit.
"""

import triton
import triton.language as tl

from .coupling import gradients, nearest_offset, soft_clamp
from .pixels import KEY, PIXEL_PRUNING, locate_pixels, pixel_offset
from .tuning import autotune, configurations

SUMMED_PIXELS = 64
"""``BLOCK_P`` of the kernels that sum over pixels: not tuned, it sizes their result."""

_SUM_TILES = configurations(
    [{"BLOCK_C": channels, "BLOCK_P": SUMMED_PIXELS} for channels in (4, 8, 16, 32)]
)


@autotune(configs=_SUM_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
@triton.jit
def soft_clamp_sums_forward_kernel(
    params_ptr,
    channel_sums_ptr,
    spatial_sums_ptr,
    x_strides,
    spatial_strides,
    channels,
    height,
    width,
    clamp_scale,
    clamp_inverse,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``channel_sums[b, p] = Σ_c v`` and ``spatial_sums[b, c, tile] = Σ_{p ∈ tile} v``.

    ``height × width`` is the parameters' size. Bytes: reads ``s0`` once, writes one float for each
    pixel and one for each channel and tile.
    """
    pixels = height * width
    batch, pixel, mask_pixel = locate_pixels(pixels, BLOCK_P)
    params_ptr = params_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, FLAT)
    tile = tl.program_id(0) % ((pixels + BLOCK_P - 1) // BLOCK_P)
    spatial_sums_ptr = spatial_sums_ptr + batch * spatial_strides[0] + tile
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
        mask = (channel < channels) & mask_pixel
        s0 = tl.load(params_ptr + channel * x_strides[1], mask=mask, other=0.0).to(tl.float32)
        v = soft_clamp(s0, clamp_scale, clamp_inverse)
        total += tl.sum(v, 0)
        sums = tl.sum(v, 1)[:, None]
        tl.store(spatial_sums_ptr + channel * spatial_strides[1], sums, mask=channel < channels)
    tl.store(channel_sums_ptr + batch * pixels + pixel, total[None, :], mask=mask_pixel)


@autotune(configs=_SUM_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
@triton.jit
def affine_coupling_sums_backward_kernel(
    grad_ptr,
    grad_log_det_ptr,
    x_ptr,
    params_ptr,
    mean_ptr,
    channel_sums_ptr,
    spatial_sums_ptr,
    grad_strides,
    x_strides,
    params_strides,
    mean_strides,
    spatial_strides,
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
    RESIZED: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``channel_sums[b, p] = Σ_c ∂s`` and ``spatial_sums[b, c, tile] = Σ_{p ∈ tile} ∂s``.

    ``∂s = grad e^s x + ∂logdet``, inverse ``−grad e^{−s} (x − t) − ∂logdet``: what reaches a mean
    that the program of one pixel cannot see whole. Bytes: reads the gradient, ``x``, ``s0``
    (inverse: ``t``) and a mean that is not broadcast once, writes one float for each pixel and one
    for each channel and tile.
    """
    pixels = height * width
    batch, pixel, mask_pixel = locate_pixels(pixels, BLOCK_P)
    grad_ptr = grad_ptr + batch * grad_strides[0] + pixel_offset(pixel, width, grad_strides, FLAT)
    x_ptr = x_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, FLAT)
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
    tile = tl.program_id(0) % ((pixels + BLOCK_P - 1) // BLOCK_P)
    spatial_sums_ptr = spatial_sums_ptr + batch * spatial_strides[0] + tile
    grad_log_det = tl.load(grad_log_det_ptr + batch).to(tl.float32)
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
        mask = (channel < channels) & mask_pixel
        s0 = tl.load(params_ptr + channel * params_strides[1], mask=mask, other=0.0).to(tl.float32)
        mean = tl.load(mean_ptr + channel * mean_strides[1], mask=mask, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + channel * x_strides[1], mask=mask, other=0.0).to(tl.float32)
        grad = tl.load(grad_ptr + channel * grad_strides[1], mask=mask, other=0.0).to(tl.float32)
        t = x
        if INVERSE:
            offset_t = (channels + channel) * params_strides[1]
            t = tl.load(params_ptr + offset_t, mask=mask, other=0.0).to(tl.float32)
        s = soft_clamp(s0, clamp_scale, clamp_inverse) - mean
        _, grad_s, _ = gradients(grad, grad_log_det, x, s, t, INVERSE)
        grad_s = tl.where(mask, grad_s, 0.0)
        total += tl.sum(grad_s, 0)
        sums = tl.sum(grad_s, 1)[:, None]
        tl.store(spatial_sums_ptr + channel * spatial_strides[1], sums, mask=channel < channels)
    tl.store(channel_sums_ptr + batch * pixels + pixel, total[None, :], mask=mask_pixel)
