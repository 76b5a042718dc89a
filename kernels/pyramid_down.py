"""One pyramid level down, keeping the first pixel of each 2×2 cell, and the transpose."""

import triton
import triton.language as tl

from .pyramid_strip import KEY, PRUNING, STRIPS, load_pixels, locate_strip
from .tuning import autotune


@triton.jit
def _filter_even(plane_ptr, row, column, height, width, strides, mask_channel):
    """One row of ``G`` along the width at columns ``2·column``."""
    a = load_pixels(plane_ptr, row, 2 * column - 2, height, width, strides, mask_channel)
    b = load_pixels(plane_ptr, row, 2 * column - 1, height, width, strides, mask_channel)
    c = load_pixels(plane_ptr, row, 2 * column, height, width, strides, mask_channel)
    d = load_pixels(plane_ptr, row, 2 * column + 1, height, width, strides, mask_channel)
    e = load_pixels(plane_ptr, row, 2 * column + 2, height, width, strides, mask_channel)
    return ((a + e) + 4.0 * (b + d) + 6.0 * c) * 0.0625


@autotune(configs=STRIPS, key=KEY, prune_configs_by=PRUNING)
@triton.jit
def pyramid_down_forward_kernel(
    fine_ptr,
    coarse_ptr,
    x_strides,
    y_strides,
    channels,
    fine_height,
    fine_width,
    coarse_height,
    coarse_width,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``coarse[i, j] = Σ_{|u|, |v| ≤ 2} k_u k_v fine[2i + u, 2j + v]``, ``k = [1 4 6 4 1] / 16``.

    Bytes: reads the fine level once (a strip's three halo rows again), writes the coarse level.
    """
    batch, channel, first_row, first_column = locate_strip(
        channels, coarse_height, coarse_width, BLOCK_C, BLOCK_H, BLOCK_W
    )
    column = first_column + tl.arange(0, BLOCK_W)[None, :]
    mask_channel = channel < channels
    mask_coarse = mask_channel & (column < coarse_width)
    x_ptr = fine_ptr + batch * x_strides[0] + channel * x_strides[1]
    y_ptr = coarse_ptr + batch * y_strides[0] + channel * y_strides[1] + column * y_strides[3]
    row = 2 * first_row
    a = _filter_even(x_ptr, row - 2, column, fine_height, fine_width, x_strides, mask_channel)
    b = _filter_even(x_ptr, row - 1, column, fine_height, fine_width, x_strides, mask_channel)
    c = _filter_even(x_ptr, row, column, fine_height, fine_width, x_strides, mask_channel)
    for step in range(BLOCK_H):
        coarse_row = first_row + step
        row = 2 * coarse_row
        d = _filter_even(x_ptr, row + 1, column, fine_height, fine_width, x_strides, mask_channel)
        e = _filter_even(x_ptr, row + 2, column, fine_height, fine_width, x_strides, mask_channel)
        y = ((a + e) + 4.0 * (b + d) + 6.0 * c) * 0.0625
        mask = mask_coarse & (coarse_row < coarse_height)
        tl.store(y_ptr + coarse_row * y_strides[2], y, mask=mask)
        a, b, c = c, d, e


@triton.jit
def _spread(plane_ptr, row, column, height, width, strides, mask_channel):
    """One coarse row under ``Gᵀ`` along the width, at fine columns ``2·column`` and the next."""
    a = load_pixels(plane_ptr, row, column - 1, height, width, strides, mask_channel)
    b = load_pixels(plane_ptr, row, column, height, width, strides, mask_channel)
    c = load_pixels(plane_ptr, row, column + 1, height, width, strides, mask_channel)
    return ((a + c) + 6.0 * b) * 0.0625, (b + c) * 0.25


@autotune(configs=STRIPS, key=KEY, prune_configs_by=PRUNING)
@triton.jit
def pyramid_down_backward_kernel(
    grad_coarse_ptr,
    grad_fine_ptr,
    x_strides,
    y_strides,
    channels,
    fine_height,
    fine_width,
    coarse_height,
    coarse_width,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``grad_fine[p, q] = Σ_{i, j} k_{p − 2i} k_{q − 2j} grad_coarse[i, j]``.

    Taps 1 6 1 and 4 4, over 16, by phase. Bytes: reads the coarse gradient once (a strip's two halo
    rows again), writes the fine one.
    """
    batch, channel, first_row, first_column = locate_strip(
        channels, coarse_height, coarse_width, BLOCK_C, BLOCK_H, BLOCK_W
    )
    column = first_column + tl.arange(0, BLOCK_W)[None, :]
    fine_column = 2 * first_column + tl.arange(0, 2 * BLOCK_W)[None, :]
    mask_channel = channel < channels
    mask_fine = mask_channel & (fine_column < fine_width)
    x_ptr = grad_coarse_ptr + batch * x_strides[0] + channel * x_strides[1]
    y_ptr = grad_fine_ptr + batch * y_strides[0] + channel * y_strides[1]
    y_ptr = y_ptr + fine_column * y_strides[3]
    a0, a1 = _spread(
        x_ptr, first_row - 1, column, coarse_height, coarse_width, x_strides, mask_channel
    )
    b0, b1 = _spread(x_ptr, first_row, column, coarse_height, coarse_width, x_strides, mask_channel)
    for step in range(BLOCK_H):
        row = first_row + step
        c0, c1 = _spread(
            x_ptr, row + 1, column, coarse_height, coarse_width, x_strides, mask_channel
        )
        upper = tl.interleave((a0 + c0) + 6.0 * b0, (a1 + c1) + 6.0 * b1) * 0.0625
        lower = tl.interleave(b0 + c0, b1 + c1) * 0.25
        fine_row = 2 * row
        mask = mask_fine & (fine_row < fine_height)
        tl.store(y_ptr + fine_row * y_strides[2], upper, mask=mask)
        mask = mask_fine & (fine_row + 1 < fine_height)
        tl.store(y_ptr + (fine_row + 1) * y_strides[2], lower, mask=mask)
        a0, a1, b0, b1 = b0, b1, c0, c1
