"""One pyramid level down, keeping the first pixel of each 2×2 cell, and the transpose."""

import triton
import triton.language as tl
from torch import Tensor

from .pyramid_strip import (
    binomial,
    coarse_plane,
    filter_even,
    fine_plane,
    launch_on_strips,
    locate_strip,
    neighbours,
    store_pixels,
    tuned_on_strips,
)


@tuned_on_strips
@triton.jit
def pyramid_down_forward_kernel(
    fine_ptr,
    coarse_ptr,
    strides,
    sizes,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``coarse[i, j] = Σ_{|u|, |v| ≤ 2} k_u k_v fine[2i + u, 2j + v]``, ``k = [1 4 6 4 1] / 16``.

    Bytes: reads the fine level once (a strip's three halo rows again), writes the coarse level.
    """
    strip = locate_strip(sizes, BLOCK_C, BLOCK_H, BLOCK_W)
    first_row, column = strip[2], strip[3]
    fine = fine_plane(fine_ptr, strides[0], sizes, strip)
    coarse = coarse_plane(coarse_ptr, strides[1], sizes, strip)
    row = 2 * first_row
    a = filter_even(fine, row - 2, column)
    b = filter_even(fine, row - 1, column)
    c = filter_even(fine, row, column)
    for step in range(BLOCK_H):
        row = 2 * (first_row + step)
        d = filter_even(fine, row + 1, column)
        e = filter_even(fine, row + 2, column)
        store_pixels(coarse, first_row + step, column, binomial(a, b, c, d, e) * 0.0625)
        a, b, c = c, d, e


def pyramid_down_forward(fine: Tensor, coarse: Tensor) -> None:
    """Write ``coarse``, the level below ``fine``."""
    launch_on_strips(pyramid_down_forward_kernel, (fine, coarse), fine, coarse)


@triton.jit
def _spread(plane, row, column):
    """One coarse row under ``Gᵀ`` along the width, at fine columns ``2·column`` and the next."""
    a, b, c = neighbours(plane, row, column)
    return ((a + c) + 6.0 * b) * 0.0625, (b + c) * 0.25


@tuned_on_strips
@triton.jit
def pyramid_down_backward_kernel(
    grad_coarse_ptr,
    grad_fine_ptr,
    strides,
    sizes,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``grad_fine[p, q] = Σ_{i, j} k_{p − 2i} k_{q − 2j} grad_coarse[i, j]``.

    Taps 1 6 1 and 4 4, over 16, by phase. Bytes: reads the coarse gradient once (a strip's two halo
    rows again), writes the fine one.
    """
    strip = locate_strip(sizes, BLOCK_C, BLOCK_H, BLOCK_W)
    _, _, first_row, column, fine_column = strip
    coarse = coarse_plane(grad_coarse_ptr, strides[0], sizes, strip)
    fine = fine_plane(grad_fine_ptr, strides[1], sizes, strip)
    a0, a1 = _spread(coarse, first_row - 1, column)
    b0, b1 = _spread(coarse, first_row, column)
    for step in range(BLOCK_H):
        row = first_row + step
        c0, c1 = _spread(coarse, row + 1, column)
        upper = tl.interleave((a0 + c0) + 6.0 * b0, (a1 + c1) + 6.0 * b1) * 0.0625
        lower = tl.interleave(b0 + c0, b1 + c1) * 0.25
        store_pixels(fine, 2 * row, fine_column, upper)
        store_pixels(fine, 2 * row + 1, fine_column, lower)
        a0, a1, b0, b1 = b0, b1, c0, c1


def pyramid_down_backward(grad_coarse: Tensor, grad_fine: Tensor) -> None:
    """Write ``grad_fine`` by the transpose."""
    levels = (grad_fine, grad_coarse)
    launch_on_strips(pyramid_down_backward_kernel, levels, grad_coarse, grad_fine)
