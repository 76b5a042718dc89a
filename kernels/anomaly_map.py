"""Anomaly map: the contrast of one latent level with its template, averaged over channels.

The composition of the levels is :mod:`pyramidflow.kernels.pyramid_up`'s, on one channel.
"""

import triton
import triton.language as tl
from torch import Tensor

from .launch import device_of, is_flat, level_sizes, pixel_grid, strides_of
from .pixels import (
    load_float,
    locate_pixels,
    next_channels,
    sample_pixels,
    tuned_on_pixels,
)


@triton.jit
def _sum_of_contrasts(
    compared,
    strides,
    channels,
    mask_pixel,
    HAS_SPREAD: tl.constexpr,
    HAS_SHIFT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``Σ_c |z − z̄ − m| · w`` of each pixel, from the pointers to their first channels."""
    latent_ptr, template_ptr, spread_ptr, shift_ptr = compared
    latent_strides, template_strides, spread_strides = strides
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel, mask = next_channels(first, channels, mask_pixel, BLOCK_C)
        difference = load_float(latent_ptr + channel * latent_strides[1], mask)
        difference -= load_float(template_ptr + channel * template_strides[1], mask)
        if HAS_SHIFT:
            shift = tl.load(shift_ptr + channel, mask=channel < channels, other=0.0)
            difference = tl.where(mask, difference - shift, 0.0)
        contrast = tl.abs(difference)
        if HAS_SPREAD:
            contrast *= load_float(spread_ptr + channel * spread_strides[1], mask)
        total += tl.sum(contrast, 0)
    return total


@tuned_on_pixels
@triton.jit
def anomaly_map_forward_kernel(
    latent_ptr,
    template_ptr,
    spread_ptr,
    shift_ptr,
    contrast_ptr,
    strides,
    sizes,
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
    channels, height, width = sizes
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    compared = (
        sample_pixels(latent_ptr, strides[0], batch, pixel, width, FLAT),
        sample_pixels(template_ptr, strides[1], batch, pixel, width, FLAT),
        sample_pixels(spread_ptr, strides[2], batch, pixel, width, FLAT),
        shift_ptr + batch * channels,
    )
    total = _sum_of_contrasts(
        compared, strides, channels, mask_pixel, HAS_SPREAD, HAS_SHIFT, BLOCK_C, BLOCK_P
    )
    contrast_ptr = contrast_ptr + batch * height * width + pixel
    tl.store(contrast_ptr, (total / channels)[None, :], mask=mask_pixel)


@tuned_on_pixels
@triton.jit
def anomaly_map_tolerant_forward_kernel(
    latent_ptr,
    template_ptr,
    spread_ptr,
    shift_ptr,
    contrast_ptr,
    tolerance,
    strides,
    sizes,
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
    channels, height, width = sizes
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    row, column = pixel // width, pixel % width
    latent_ptr = sample_pixels(latent_ptr, strides[0], batch, pixel, width, False)
    side = 2 * tolerance + 1
    least = tl.full((1, BLOCK_P), float("inf"), tl.float32)
    for step in range(side * side):
        other_row, other_column = row + step // side - tolerance, column + step % side - tolerance
        is_inside = mask_pixel & (other_row >= 0) & (other_row < height)
        is_inside = is_inside & (other_column >= 0) & (other_column < width)
        other = other_row * width + other_column
        compared = (
            latent_ptr,
            sample_pixels(template_ptr, strides[1], batch, other, width, False),
            sample_pixels(spread_ptr, strides[2], batch, other, width, False),
            shift_ptr + batch * channels,
        )
        total = _sum_of_contrasts(
            compared, strides, channels, is_inside, HAS_SPREAD, HAS_SHIFT, BLOCK_C, BLOCK_P
        )
        found = tl.where(is_inside, total[None, :], float("inf"))
        least = tl.minimum(least, found, propagate_nan=tl.PropagateNan.ALL)
    contrast_ptr = contrast_ptr + batch * height * width + pixel
    tl.store(contrast_ptr, least / channels, mask=mask_pixel)


def anomaly_map_forward(
    latent: Tensor,
    template: Tensor,
    inverse_spread: Tensor | None,
    shift: Tensor | None,
    contrast: Tensor,
    tolerance: int = 0,
) -> None:
    """Write the contrast of one level, ``[B, 1, h, w]`` in float32.

    Args:
        latent: ``[B, C, h, w]``.
        template: ``[B, C, h, w]``.
        inverse_spread: ``[B, C, h, w]``, the same for every sample; ``None`` for 1.
        shift: ``[B, C]``, dense, in float32; ``None`` for 0.
        contrast: the result, dense.
        tolerance: pixels; above 0 the least contrast around each pixel.
    """
    # A kernel that is compiled without an operand does not read it.
    spread = template if inverse_spread is None else inverse_spread
    operands = (latent, template, spread, contrast if shift is None else shift, contrast)
    layout = strides_of(latent, template, spread), level_sizes(latent)
    given = {"HAS_SPREAD": inverse_spread is not None, "HAS_SHIFT": shift is not None}
    with device_of(latent):
        if tolerance > 0:
            anomaly_map_tolerant_forward_kernel[pixel_grid(latent)](
                *operands, tolerance, *layout, **given
            )
            return
        anomaly_map_forward_kernel[pixel_grid(latent)](
            *operands, *layout, **given, FLAT=is_flat(latent, template, spread)
        )


@tuned_on_pixels
@triton.jit
def anomaly_map_backward_kernel(
    grad_contrast_ptr,
    latent_ptr,
    template_ptr,
    grad_latent_ptr,
    strides,
    sizes,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``grad_z[b, c, p] = grad_contrast[b, p] · sign(z − z̄) / C``; zero where ``z = z̄``.

    Bytes: reads the latents, the template and one float for each pixel once, writes a gradient.
    """
    latent_strides, template_strides, grad_strides = strides
    channels, height, width = sizes
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    latent_ptr = sample_pixels(latent_ptr, latent_strides, batch, pixel, width, FLAT)
    template_ptr = sample_pixels(template_ptr, template_strides, batch, pixel, width, FLAT)
    grad_latent_ptr = sample_pixels(grad_latent_ptr, grad_strides, batch, pixel, width, FLAT)
    grad_contrast_ptr = grad_contrast_ptr + batch * height * width + pixel
    grad = tl.load(grad_contrast_ptr, mask=mask_pixel, other=0.0) / channels
    for first in range(0, channels, BLOCK_C):
        channel, mask = next_channels(first, channels, mask_pixel, BLOCK_C)
        z = load_float(latent_ptr + channel * latent_strides[1], mask)
        template = load_float(template_ptr + channel * template_strides[1], mask)
        grad_z = tl.where(z > template, grad, tl.where(z < template, -grad, 0.0))
        tl.store(grad_latent_ptr + channel * grad_strides[1], grad_z, mask=mask)


def anomaly_map_backward(
    grad_contrast: Tensor, latent: Tensor, template: Tensor, grad_latent: Tensor
) -> None:
    """Write the gradient of one level's latents ``[B, C, h, w]``.

    Args:
        grad_contrast: of the level's contrast, dense, in float32.
        latent: ``[B, C, h, w]``.
        template: ``[B, C, h, w]``.
        grad_latent: the result.
    """
    tensors = (latent, template, grad_latent)
    layout = strides_of(*tensors), level_sizes(latent)
    with device_of(latent):
        anomaly_map_backward_kernel[pixel_grid(latent)](
            grad_contrast, *tensors, *layout, FLAT=is_flat(*tensors)
        )
