"""One pyramid level down, keeping the largest pixel of each 2×2 cell, and the transpose."""

import triton
import triton.language as tl

from .pyramid_strip import KEY, PRUNING, STRIPS, filter_both, locate_strip
from .tuning import autotune


@triton.jit
def _larger(best, best_index, value, index, inside):
    # PyTorch's max-pool lets NaN win; a comparison alone would drop it.
    taken = inside & ((value > best) | (value != value))
    return tl.where(taken, value, best), tl.where(taken, index, best_index)


@autotune(configs=STRIPS, key=KEY, prune_configs_by=PRUNING)
@triton.jit
def pyramid_down_max_forward_kernel(
    fine_ptr,
    coarse_ptr,
    index_ptr,
    x_strides,
    y_strides,
    index_strides,
    channels,
    fine_height,
    fine_width,
    coarse_height,
    coarse_width,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``coarse[i, j] = max_{p, q ∈ {0, 1}} G(fine)[2i + p, 2j + q]``.

    ``index[i, j] = 2p + q`` of the first maximum. Pixels past an odd border take no part. Bytes:
    reads the fine level once (a strip's four halo rows again), writes the coarse level and one byte
    for each of its elements.
    """
    batch, channel, first_row, first_column = locate_strip(
        channels, coarse_height, coarse_width, BLOCK_C, BLOCK_H, BLOCK_W
    )
    column = first_column + tl.arange(0, BLOCK_W)[None, :]
    mask_channel = channel < channels
    mask_coarse = mask_channel & (column < coarse_width)
    x_ptr = fine_ptr + batch * x_strides[0] + channel * x_strides[1]
    y_ptr = coarse_ptr + batch * y_strides[0] + channel * y_strides[1] + column * y_strides[3]
    index_ptr = (
        index_ptr
        + batch * index_strides[0]
        + channel * index_strides[1]
        + column * index_strides[3]
    )
    mask_right = mask_channel & (2 * column + 1 < fine_width)
    row = 2 * first_row
    a0, a1 = filter_both(x_ptr, row - 2, column, fine_height, fine_width, x_strides, mask_channel)
    b0, b1 = filter_both(x_ptr, row - 1, column, fine_height, fine_width, x_strides, mask_channel)
    c0, c1 = filter_both(x_ptr, row, column, fine_height, fine_width, x_strides, mask_channel)
    d0, d1 = filter_both(x_ptr, row + 1, column, fine_height, fine_width, x_strides, mask_channel)
    for step in range(BLOCK_H):
        coarse_row = first_row + step
        row = 2 * coarse_row
        e0, e1 = filter_both(
            x_ptr, row + 2, column, fine_height, fine_width, x_strides, mask_channel
        )
        f0, f1 = filter_both(
            x_ptr, row + 3, column, fine_height, fine_width, x_strides, mask_channel
        )
        mask_below = mask_channel & (row + 1 < fine_height)
        y = ((a0 + e0) + 4.0 * (b0 + d0) + 6.0 * c0) * 0.0625
        index = tl.zeros((BLOCK_C, BLOCK_W), tl.int32)
        value = ((a1 + e1) + 4.0 * (b1 + d1) + 6.0 * c1) * 0.0625
        y, index = _larger(y, index, value, 1, mask_right)
        value = ((b0 + f0) + 4.0 * (c0 + e0) + 6.0 * d0) * 0.0625
        y, index = _larger(y, index, value, 2, mask_below)
        value = ((b1 + f1) + 4.0 * (c1 + e1) + 6.0 * d1) * 0.0625
        y, index = _larger(y, index, value, 3, mask_below & mask_right)
        mask = mask_coarse & (coarse_row < coarse_height)
        tl.store(y_ptr + coarse_row * y_strides[2], y, mask=mask)
        tl.store(index_ptr + coarse_row * index_strides[2], index.to(tl.uint8), mask=mask)
        a0, b0, c0, d0 = c0, d0, e0, f0
        a1, b1, c1, d1 = c1, d1, e1, f1


@triton.jit
def _spread_maximum(
    grad_ptr, index_ptr, row, column, height, width, strides, index_strides, mask_channel
):
    """One coarse row under ``Gᵀ`` along the width, each gradient starting where its maximum was.

    Returns gradients from upper and lower pixels of the cells, at even and odd fine columns each.
    """
    upper_even = tl.zeros((mask_channel.shape[0], column.shape[1]), tl.float32)
    lower_even, upper_odd, lower_odd = upper_even, upper_even, upper_even
    for shift in tl.static_range(-1, 2):
        at = column + shift
        mask = mask_channel & (row >= 0) & (row < height) & (at >= 0) & (at < width)
        offset = row * strides[2] + at * strides[3]
        grad = tl.load(grad_ptr + offset, mask=mask, other=0.0).to(tl.float32)
        offset = row * index_strides[2] + at * index_strides[3]
        index = tl.load(index_ptr + offset, mask=mask, other=0)
        right = (index & 1) != 0
        if shift == -1:
            even, odd = tl.where(right, 4.0, 1.0), tl.where(right, 1.0, 0.0)
        elif shift == 0:
            even, odd = tl.where(right, 4.0, 6.0), tl.where(right, 6.0, 4.0)
        else:
            even, odd = tl.where(right, 0.0, 1.0), tl.where(right, 1.0, 4.0)
        even, odd = even * grad * 0.0625, odd * grad * 0.0625
        lower = (index & 2) != 0
        upper_even += tl.where(lower, 0.0, even)
        lower_even += tl.where(lower, even, 0.0)
        upper_odd += tl.where(lower, 0.0, odd)
        lower_odd += tl.where(lower, odd, 0.0)
    return upper_even, lower_even, upper_odd, lower_odd


@autotune(configs=STRIPS, key=KEY, prune_configs_by=PRUNING)
@triton.jit
def pyramid_down_max_backward_kernel(
    grad_coarse_ptr,
    index_ptr,
    grad_fine_ptr,
    x_strides,
    index_strides,
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
    """``grad_fine[p, q] = Σ_{i, j} k_{p − 2i − ⌊n/2⌋} k_{q − 2j − n mod 2} grad_coarse[i, j]``.

    ``n = index[i, j]``. Bytes: reads the coarse gradient and its indices (one byte each) once (a
    strip's two halo rows again), writes the fine gradient.
    """
    batch, channel, first_row, first_column = locate_strip(
        channels, coarse_height, coarse_width, BLOCK_C, BLOCK_H, BLOCK_W
    )
    column = first_column + tl.arange(0, BLOCK_W)[None, :]
    fine_column = 2 * first_column + tl.arange(0, 2 * BLOCK_W)[None, :]
    mask_channel = channel < channels
    mask_fine = mask_channel & (fine_column < fine_width)
    x_ptr = grad_coarse_ptr + batch * x_strides[0] + channel * x_strides[1]
    index_ptr = index_ptr + batch * index_strides[0] + channel * index_strides[1]
    y_ptr = grad_fine_ptr + batch * y_strides[0] + channel * y_strides[1]
    y_ptr = y_ptr + fine_column * y_strides[3]
    # a, b, c: coarse rows; u, l: from the cells' upper or lower pixels; 0, 1: even or odd columns.
    au0, al0, au1, al1 = _spread_maximum(
        x_ptr,
        index_ptr,
        first_row - 1,
        column,
        coarse_height,
        coarse_width,
        x_strides,
        index_strides,
        mask_channel,
    )
    bu0, bl0, bu1, bl1 = _spread_maximum(
        x_ptr,
        index_ptr,
        first_row,
        column,
        coarse_height,
        coarse_width,
        x_strides,
        index_strides,
        mask_channel,
    )
    for step in range(BLOCK_H):
        row = first_row + step
        cu0, cl0, cu1, cl1 = _spread_maximum(
            x_ptr,
            index_ptr,
            row + 1,
            column,
            coarse_height,
            coarse_width,
            x_strides,
            index_strides,
            mask_channel,
        )
        upper = tl.interleave(
            (au0 + cu0) + 4.0 * (al0 + bl0) + 6.0 * bu0, (au1 + cu1) + 4.0 * (al1 + bl1) + 6.0 * bu1
        )
        lower = tl.interleave(
            (al0 + cl0) + 4.0 * (bu0 + cu0) + 6.0 * bl0, (al1 + cl1) + 4.0 * (bu1 + cu1) + 6.0 * bl1
        )
        fine_row = 2 * row
        mask = mask_fine & (fine_row < fine_height)
        tl.store(y_ptr + fine_row * y_strides[2], upper * 0.0625, mask=mask)
        mask = mask_fine & (fine_row + 1 < fine_height)
        tl.store(y_ptr + (fine_row + 1) * y_strides[2], lower * 0.0625, mask=mask)
        au0, al0, au1, al1 = bu0, bl0, bu1, bl1
        bu0, bl0, bu1, bl1 = cu0, cl0, cu1, cl1
