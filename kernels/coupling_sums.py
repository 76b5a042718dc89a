"""Sums that a coupling's mean comes from, and the sums of the gradients that reach it.

Sums across programs go through memory and are added in a fixed order, so results repeat to the bit.
"""

import triton
import triton.language as tl
from torch import Tensor

from .clamp import ClampFactors, soft_clamp
from .coupling import (
    Coupling,
    log_scale_gradient,
    taken_pixels,
)
from .launch import device_of, is_flat, level_sizes, pixel_grid, strides_of
from .pixels import (
    KEY,
    PIXEL_PRUNING,
    load_float,
    locate_pixels,
    next_channels,
    sample_pixels,
)
from .tuning import autotune, configurations

SUMMED_PIXELS = 64
"""``BLOCK_P`` of the kernels that sum over pixels: not tuned, it sizes their result."""

_tuned = autotune(
    configs=configurations(
        [{"BLOCK_C": channels, "BLOCK_P": SUMMED_PIXELS} for channels in (4, 8, 16, 32)]
    ),
    key=KEY,
    prune_configs_by=PIXEL_PRUNING,
)


@triton.jit
def _store_spatial_sums(
    sums_ptr, strides, batch, pixels, channel, channels, v, BLOCK_P: tl.constexpr
):
    """Sums over the program's pixels, one for each channel."""
    tile = tl.program_id(0) % ((pixels + BLOCK_P - 1) // BLOCK_P)
    sums_ptr = sums_ptr + batch * strides[0] + tile + channel * strides[1]
    tl.store(sums_ptr, tl.sum(v, 1)[:, None], mask=channel < channels)


@_tuned
@triton.jit
def soft_clamp_sums_forward_kernel(
    params_ptr,
    channel_sums_ptr,
    spatial_sums_ptr,
    strides,
    sizes,
    clamp,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``channel_sums[b, p] = Σ_c v`` and ``spatial_sums[b, c, tile] = Σ_{p ∈ tile} v``.

    ``height × width`` is the parameters' size. Bytes: reads ``s0`` once, writes one float for each
    pixel and one for each channel and tile.
    """
    channels, height, width = sizes
    pixels = height * width
    batch, pixel, mask_pixel = locate_pixels(pixels, BLOCK_P)
    params_ptr = sample_pixels(params_ptr, strides[0], batch, pixel, width, FLAT)
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel, mask = next_channels(first, channels, mask_pixel, BLOCK_C)
        v = soft_clamp(load_float(params_ptr + channel * strides[0][1], mask), clamp)
        total += tl.sum(v, 0)
        _store_spatial_sums(
            spatial_sums_ptr, strides[1], batch, pixels, channel, channels, v, BLOCK_P
        )
    tl.store(channel_sums_ptr + batch * pixels + pixel, total[None, :], mask=mask_pixel)


def soft_clamp_sums_forward(
    params: Tensor, channel_sums: Tensor, spatial_sums: Tensor, clamp: ClampFactors
) -> None:
    """Write the sums of the soft-clamped log-scale.

    Args:
        params: ``[B, 2C, H', W']``.
        channel_sums: over channels, ``[B, 1, H', W']`` in float32, dense.
        spatial_sums: over tiles of :data:`SUMMED_PIXELS` pixels, ``[B, C, tiles]``.
        clamp: factors of the soft clamp.
    """
    channels, height, width = level_sizes(params)
    with device_of(params):
        soft_clamp_sums_forward_kernel[pixel_grid(params)](
            *(params, channel_sums, spatial_sums, strides_of(params, spatial_sums)),
            *((channels // 2, height, width), clamp),
            FLAT=is_flat(params),
        )


@_tuned
@triton.jit
def affine_coupling_sums_backward_kernel(
    grad_ptr,
    grad_log_det_ptr,
    x_ptr,
    params_ptr,
    mean_ptr,
    channel_sums_ptr,
    spatial_sums_ptr,
    strides,
    sizes,
    resize,
    clamp,
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
    channels, height, width = sizes
    pixels = height * width
    batch, pixel, mask_pixel = locate_pixels(pixels, BLOCK_P)
    read = (
        sample_pixels(x_ptr, strides[0], batch, pixel, width, FLAT),
        sample_pixels(grad_ptr, strides[1], batch, pixel, width, FLAT),
        taken_pixels(params_ptr, strides[2], batch, pixel, width, resize, RESIZED, FLAT),
        taken_pixels(mean_ptr, strides[3], batch, pixel, width, resize, RESIZED, FLAT),
    )
    grad_log_det = tl.load(grad_log_det_ptr + batch).to(tl.float32)
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel, mask = next_channels(first, channels, mask_pixel, BLOCK_C)
        grad_s = log_scale_gradient(
            read, strides, channels, channel, mask, grad_log_det, clamp, INVERSE
        )
        total += tl.sum(grad_s, 0)
        _store_spatial_sums(
            spatial_sums_ptr, strides[4], batch, pixels, channel, channels, grad_s, BLOCK_P
        )
    tl.store(channel_sums_ptr + batch * pixels + pixel, total[None, :], mask=mask_pixel)


def affine_coupling_sums_backward(
    coupling: Coupling, grads: tuple[Tensor, Tensor], channel_sums: Tensor, spatial_sums: Tensor
) -> None:
    """Write the sums of the gradients that reach the mean.

    Args:
        coupling: what was computed.
        grads: of the result ``[B, C, H, W]`` and of the log-determinants ``[B]``, dense.
        channel_sums: over channels, ``[B, 1, H, W]`` in float32, dense.
        spatial_sums: over tiles of :data:`SUMMED_PIXELS` pixels, ``[B, C, tiles]``.
    """
    x, params, mean, clamp, inverse = coupling
    grad, grad_log_det = grads
    with device_of(x):
        affine_coupling_sums_backward_kernel[pixel_grid(x)](
            *(grad, grad_log_det, x, params, mean, channel_sums, spatial_sums),
            strides_of(x, grad, params, mean, spatial_sums),
            *(level_sizes(x), coupling.resizing, clamp),
            INVERSE=inverse,
            RESIZED=coupling.is_resized,
            FLAT=is_flat(grad, x, params, mean),
        )
