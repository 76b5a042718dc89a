"""One pyramid level down, keeping the largest pixel of each 2×2 cell, and the transpose."""

import triton
import triton.language as tl
from torch import Tensor

from .pyramid_strip import (
    binomial,
    coarse_plane,
    filter_both,
    fine_plane,
    launch_on_strips,
    load_pixels,
    locate_strip,
    place_of,
    store_pixels,
    tuned_on_strips,
)


@triton.jit
def _larger(best, best_index, value, index, inside):
    # PyTorch's max-pool lets NaN win; a comparison alone would drop it.
    taken = inside & ((value > best) | (value != value))
    return tl.where(taken, value, best), tl.where(taken, index, best_index)


@tuned_on_strips
@triton.jit
def pyramid_down_max_forward_kernel(
    fine_ptr,
    coarse_ptr,
    index_ptr,
    strides,
    sizes,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``coarse[i, j] = max_{p, q ∈ {0, 1}} G(fine)[2i + p, 2j + q]``.

    ``index[i, j] = 2p + q`` of the first maximum. Pixels past an odd border take no part. Bytes:
    reads the fine level once (a strip's four halo rows again), writes the coarse level and one byte
    for each of its elements.
    """
    strip = locate_strip(sizes, BLOCK_C, BLOCK_H, BLOCK_W)
    first_row, column = strip[2], strip[3]
    fine = fine_plane(fine_ptr, strides[0], sizes, strip)
    coarse = coarse_plane(coarse_ptr, strides[1], sizes, strip)
    places = coarse_plane(index_ptr, strides[2], sizes, strip)
    mask_channel = strip[1] < sizes[0]
    mask_right = mask_channel & (2 * column + 1 < sizes[2])
    row = 2 * first_row
    a0, a1 = filter_both(fine, row - 2, column)
    b0, b1 = filter_both(fine, row - 1, column)
    c0, c1 = filter_both(fine, row, column)
    d0, d1 = filter_both(fine, row + 1, column)
    for step in range(BLOCK_H):
        row = 2 * (first_row + step)
        e0, e1 = filter_both(fine, row + 2, column)
        f0, f1 = filter_both(fine, row + 3, column)
        mask_below = mask_channel & (row + 1 < sizes[1])
        y = binomial(a0, b0, c0, d0, e0) * 0.0625
        index = tl.zeros((BLOCK_C, BLOCK_W), tl.int32)
        value = binomial(a1, b1, c1, d1, e1) * 0.0625
        y, index = _larger(y, index, value, 1, mask_right)
        value = binomial(b0, c0, d0, e0, f0) * 0.0625
        y, index = _larger(y, index, value, 2, mask_below)
        value = binomial(b1, c1, d1, e1, f1) * 0.0625
        y, index = _larger(y, index, value, 3, mask_below & mask_right)
        store_pixels(coarse, first_row + step, column, y)
        store_pixels(places, first_row + step, column, index.to(tl.uint8))
        a0, b0, c0, d0 = c0, d0, e0, f0
        a1, b1, c1, d1 = c1, d1, e1, f1


def pyramid_down_max_forward(fine: Tensor, coarse: Tensor, index: Tensor) -> None:
    """Write ``coarse``, the level below ``fine``, and the places of its maxima."""
    launch_on_strips(pyramid_down_max_forward_kernel, (fine, coarse), fine, coarse, index)


@triton.jit
def _spread_maximum(coarse, places, row, column):
    """One coarse row under ``Gᵀ`` along the width, each gradient starting where its maximum was.

    Returns gradients from upper and lower pixels of the cells, at even and odd fine columns each.
    """
    upper_even = tl.zeros((coarse[4].shape[0], column.shape[1]), tl.float32)
    lower_even, upper_odd, lower_odd = upper_even, upper_even, upper_even
    for shift in tl.static_range(-1, 2):
        at = column + shift
        grad = load_pixels(coarse, row, at)
        index_ptr, mask = place_of(places, row, at)
        index = tl.load(index_ptr, mask=mask & (row >= 0) & (at >= 0), other=0)
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


@tuned_on_strips
@triton.jit
def pyramid_down_max_backward_kernel(
    grad_coarse_ptr,
    grad_fine_ptr,
    index_ptr,
    strides,
    sizes,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``grad_fine[p, q] = Σ_{i, j} k_{p − 2i − ⌊n/2⌋} k_{q − 2j − n mod 2} grad_coarse[i, j]``.

    ``n = index[i, j]``. Bytes: reads the coarse gradient and its indices (one byte each) once (a
    strip's two halo rows again), writes the fine gradient.
    """
    strip = locate_strip(sizes, BLOCK_C, BLOCK_H, BLOCK_W)
    _, _, first_row, column, fine_column = strip
    coarse = coarse_plane(grad_coarse_ptr, strides[0], sizes, strip)
    fine = fine_plane(grad_fine_ptr, strides[1], sizes, strip)
    places = coarse_plane(index_ptr, strides[2], sizes, strip)
    # a, b, c: coarse rows; u, l: from the cells' upper or lower pixels; 0, 1: even or odd columns.
    au0, al0, au1, al1 = _spread_maximum(coarse, places, first_row - 1, column)
    bu0, bl0, bu1, bl1 = _spread_maximum(coarse, places, first_row, column)
    for step in range(BLOCK_H):
        row = first_row + step
        cu0, cl0, cu1, cl1 = _spread_maximum(coarse, places, row + 1, column)
        upper = tl.interleave(
            (au0 + cu0) + 4.0 * (al0 + bl0) + 6.0 * bu0, (au1 + cu1) + 4.0 * (al1 + bl1) + 6.0 * bu1
        )
        lower = tl.interleave(
            (al0 + cl0) + 4.0 * (bu0 + cu0) + 6.0 * bl0, (al1 + cl1) + 4.0 * (bu1 + cu1) + 6.0 * bl1
        )
        store_pixels(fine, 2 * row, fine_column, upper * 0.0625)
        store_pixels(fine, 2 * row + 1, fine_column, lower * 0.0625)
        au0, al0, au1, al1 = bu0, bl0, bu1, bl1
        bu0, bl0, bu1, bl1 = cu0, cl0, cu1, cl1


def pyramid_down_max_backward(grad_coarse: Tensor, index: Tensor, grad_fine: Tensor) -> None:
    """Write ``grad_fine``, each gradient spread from where its maximum was."""
    levels = (grad_fine, grad_coarse)
    launch_on_strips(pyramid_down_max_backward_kernel, levels, grad_coarse, grad_fine, index)
