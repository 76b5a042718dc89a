"""Anomaly map: the contrast of one latent level with its template, averaged over channels.

The composition of the levels is :mod:`pyramidflow.kernels.pyramid_up`'s, on one channel.
"""

import triton
import triton.language as tl

from .pixels import KEY, PIXEL_PRUNING, PIXEL_TILES, locate_pixels, pixel_offset
from .tuning import autotune


@autotune(configs=PIXEL_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
@triton.jit
def anomaly_map_forward_kernel(
    latent_ptr,
    template_ptr,
    spread_ptr,
    shift_ptr,
    contrast_ptr,
    x_strides,
    template_strides,
    spread_strides,
    channels,
    height,
    width,
    HAS_SPREAD: tl.constexpr,
    HAS_SHIFT: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``contrast[b, p] = mean_c |z[b, c, p] − z̄[b, c, p] − m[b, c]| · w[c, p]``, float32, dense.

    Without spread ``w = 1``, without shift ``m = 0``; their pointers are not read then.

    Bytes: reads the latents, the template and the inverse spread once, writes one float for each
    pixel.
    """
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    latent_ptr = latent_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, FLAT)
    template_ptr = template_ptr + batch * template_strides[0]
    template_ptr = template_ptr + pixel_offset(pixel, width, template_strides, FLAT)
    spread_ptr = spread_ptr + pixel_offset(pixel, width, spread_strides, FLAT)
    shift_ptr = shift_ptr + batch * channels
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
        mask = (channel < channels) & mask_pixel
        z = tl.load(latent_ptr + channel * x_strides[1], mask=mask, other=0.0)
        template = tl.load(template_ptr + channel * template_strides[1], mask=mask, other=0.0)
        difference = z.to(tl.float32) - template.to(tl.float32)
        if HAS_SHIFT:
            shift = tl.load(shift_ptr + channel, mask=channel < channels, other=0.0)
            difference = tl.where(mask, difference - shift, 0.0)
        contrast = tl.abs(difference)
        if HAS_SPREAD:
            weight = tl.load(spread_ptr + channel * spread_strides[1], mask=mask, other=0.0)
            contrast *= weight.to(tl.float32)
        total += tl.sum(contrast, 0)
    contrast_ptr = contrast_ptr + batch * height * width + pixel
    tl.store(contrast_ptr, (total / channels)[None, :], mask=mask_pixel)


@autotune(configs=PIXEL_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
@triton.jit
def anomaly_map_tolerant_forward_kernel(
    latent_ptr,
    template_ptr,
    spread_ptr,
    shift_ptr,
    contrast_ptr,
    x_strides,
    template_strides,
    spread_strides,
    channels,
    height,
    width,
    tolerance,
    HAS_SPREAD: tl.constexpr,
    HAS_SHIFT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``contrast[b, p] = min_s mean_c |z[b, c, p] − z̄[b, c, p + s] − m[b, c]| · w[c, p + s]``.

    Over all ``s`` of at most ``tolerance`` rows and columns that stay in the level; else as
    :func:`anomaly_map_forward_kernel`.

    Bytes: as that one, what is read again for another ``s`` comes from a cache.
    """
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    row, column = pixel // width, pixel % width
    latent_ptr = latent_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, False)
    template_ptr = template_ptr + batch * template_strides[0]
    shift_ptr = shift_ptr + batch * channels
    side = 2 * tolerance + 1
    least = tl.full((1, BLOCK_P), float("inf"), tl.float32)
    for step in range(side * side):
        other_row, other_column = row + step // side - tolerance, column + step % side - tolerance
        is_inside = mask_pixel & (other_row >= 0) & (other_row < height)
        is_inside = is_inside & (other_column >= 0) & (other_column < width)
        other = other_row * width + other_column
        other_template_ptr = template_ptr + pixel_offset(other, width, template_strides, False)
        other_spread_ptr = spread_ptr + pixel_offset(other, width, spread_strides, False)
        total = tl.zeros((BLOCK_P,), tl.float32)
        for first in range(0, channels, BLOCK_C):
            channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
            mask = (channel < channels) & is_inside
            z = tl.load(latent_ptr + channel * x_strides[1], mask=mask, other=0.0)
            template = tl.load(
                other_template_ptr + channel * template_strides[1], mask=mask, other=0.0
            )
            difference = z.to(tl.float32) - template.to(tl.float32)
            if HAS_SHIFT:
                shift = tl.load(shift_ptr + channel, mask=channel < channels, other=0.0)
                difference = tl.where(mask, difference - shift, 0.0)
            contrast = tl.abs(difference)
            if HAS_SPREAD:
                weight = tl.load(
                    other_spread_ptr + channel * spread_strides[1], mask=mask, other=0.0
                )
                contrast *= weight.to(tl.float32)
            total += tl.sum(contrast, 0)
        found = tl.where(is_inside, total[None, :], float("inf"))
        least = tl.minimum(least, found, propagate_nan=tl.PropagateNan.ALL)
    contrast_ptr = contrast_ptr + batch * height * width + pixel
    tl.store(contrast_ptr, least / channels, mask=mask_pixel)


@autotune(configs=PIXEL_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
@triton.jit
def anomaly_map_backward_kernel(
    grad_contrast_ptr,
    latent_ptr,
    template_ptr,
    grad_latent_ptr,
    x_strides,
    template_strides,
    grad_strides,
    channels,
    height,
    width,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``grad_z[b, c, p] = grad_contrast[b, p] · sign(z − z̄) / C``; zero where ``z = z̄``.

    Bytes: reads the latents, the template and one float for each pixel once, writes a gradient.
    """
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    latent_ptr = latent_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, FLAT)
    template_ptr = template_ptr + batch * template_strides[0]
    template_ptr = template_ptr + pixel_offset(pixel, width, template_strides, FLAT)
    grad_latent_ptr = grad_latent_ptr + batch * grad_strides[0]
    grad_latent_ptr = grad_latent_ptr + pixel_offset(pixel, width, grad_strides, FLAT)
    grad_contrast_ptr = grad_contrast_ptr + batch * height * width + pixel
    grad = tl.load(grad_contrast_ptr, mask=mask_pixel, other=0.0) / channels
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
        mask = (channel < channels) & mask_pixel
        z = tl.load(latent_ptr + channel * x_strides[1], mask=mask, other=0.0).to(tl.float32)
        template = tl.load(template_ptr + channel * template_strides[1], mask=mask, other=0.0)
        template = template.to(tl.float32)
        grad_z = tl.where(z > template, grad, tl.where(z < template, -grad, 0.0))
        tl.store(grad_latent_ptr + channel * grad_strides[1], grad_z, mask=mask)
