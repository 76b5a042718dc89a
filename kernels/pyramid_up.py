"""One pyramid level up, subtracted from the finer level or added to it, and the transpose."""

import triton
import triton.language as tl
from torch import Tensor

from .pyramid_strip import (
    binomial,
    coarse_plane,
    filter_both,
    fine_plane,
    launch_on_strips,
    locate_strip,
    neighbours,
    place_of,
    store_pixels,
    tuned_on_strips,
)


@triton.jit
def _upsample(plane, row, column, fine_width):
    """One coarse row under ``U`` along the width, at fine columns ``2·column`` and the next."""
    a, b, c = neighbours(plane, row, column)
    # Where the fine width is odd, the last coarse pixel covers one fine pixel, not two.
    middle = tl.where(2 * column + 1 < fine_width, 10.0, 6.0)
    right = tl.where(2 * column + 3 < fine_width, 5.0, 4.0)
    return (5.0 * a + middle * b + c) * 0.0625, (a + 10.0 * b + right * c) * 0.0625


@triton.jit
def _add_row(fine, out, row, column, up, SIGN: tl.constexpr):
    """``out = fine + SIGN · up`` in one row of the finer level."""
    fine_ptr, mask = place_of(fine, row, column)
    pixels = tl.load(fine_ptr, mask=mask, other=0.0).to(tl.float32)
    store_pixels(out, row, column, pixels + SIGN * up)


@tuned_on_strips
@triton.jit
def pyramid_up_forward_kernel(
    coarse_ptr,
    fine_ptr,
    out_ptr,
    strides,
    sizes,
    SIGN: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``out = fine + SIGN · U(coarse)``: −1 is the residual, +1 the merge.

    Each way, ``U`` weighs the coarse pixels ``i−1, i, i+1`` by ``5 10 1`` at fine pixel ``2i`` and
    by ``1 10 5`` at ``2i + 1``, over 16. Bytes: reads the fine level once and the coarse one once
    (a strip's two halo rows again), writes the fine level.
    """
    strip = locate_strip(sizes, BLOCK_C, BLOCK_H, BLOCK_W)
    _, _, first_row, column, fine_column = strip
    coarse = coarse_plane(coarse_ptr, strides[0], sizes, strip)
    fine = fine_plane(fine_ptr, strides[1], sizes, strip)
    out = fine_plane(out_ptr, strides[2], sizes, strip)
    _, fine_height, fine_width, _, _ = sizes
    a0, a1 = _upsample(coarse, first_row - 1, column, fine_width)
    b0, b1 = _upsample(coarse, first_row, column, fine_width)
    for step in range(BLOCK_H):
        row = first_row + step
        c0, c1 = _upsample(coarse, row + 1, column, fine_width)
        fine_row = 2 * row
        middle = tl.where(fine_row + 1 < fine_height, 10.0, 6.0)
        below = tl.where(fine_row + 3 < fine_height, 5.0, 4.0)
        up = tl.interleave(5.0 * a0 + middle * b0 + c0, 5.0 * a1 + middle * b1 + c1) * 0.0625
        _add_row(fine, out, fine_row, fine_column, up, SIGN)
        up = tl.interleave(a0 + 10.0 * b0 + below * c0, a1 + 10.0 * b1 + below * c1) * 0.0625
        _add_row(fine, out, fine_row + 1, fine_column, up, SIGN)
        a0, a1, b0, b1 = b0, b1, c0, c1


def pyramid_up_forward(coarse: Tensor, fine: Tensor, out: Tensor, sign: float) -> None:
    """Write ``out = fine + sign · U(coarse)``."""
    launch_on_strips(pyramid_up_forward_kernel, (fine, coarse), coarse, fine, out, SIGN=sign)


@triton.jit
def _gather_pair(plane, row, column):
    """One fine row under ``Uᵀ`` along the width: ``G`` summed over a coarse pixel's fine ones."""
    even, odd = filter_both(plane, row, column)
    return even + tl.where(2 * column + 1 < plane[3], odd, 0.0)


@tuned_on_strips
@triton.jit
def pyramid_up_backward_kernel(
    grad_fine_ptr,
    grad_coarse_ptr,
    strides,
    sizes,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """``grad_coarse[i, j] = Σ_{p, q ∈ {0, 1}} G(grad_fine)[2i + p, 2j + q]``.

    Pixels past an odd border take no part. Bytes: reads the fine gradient once (a strip's four halo
    rows again), writes the coarse one.
    """
    strip = locate_strip(sizes, BLOCK_C, BLOCK_H, BLOCK_W)
    first_row, column = strip[2], strip[3]
    fine = fine_plane(grad_fine_ptr, strides[0], sizes, strip)
    coarse = coarse_plane(grad_coarse_ptr, strides[1], sizes, strip)
    row = 2 * first_row
    a, b = _gather_pair(fine, row - 2, column), _gather_pair(fine, row - 1, column)
    c, d = _gather_pair(fine, row, column), _gather_pair(fine, row + 1, column)
    for step in range(BLOCK_H):
        row = 2 * (first_row + step)
        e, f = _gather_pair(fine, row + 2, column), _gather_pair(fine, row + 3, column)
        upper, lower = binomial(a, b, c, d, e), binomial(b, c, d, e, f)
        y = (upper + tl.where(row + 1 < sizes[1], lower, 0.0)) * 0.0625
        store_pixels(coarse, first_row + step, column, y)
        a, b, c, d = c, d, e, f


def pyramid_up_backward(grad_fine: Tensor, grad_coarse: Tensor) -> None:
    """Write ``grad_coarse = Uᵀ grad_fine``."""
    levels = (grad_fine, grad_coarse)
    launch_on_strips(pyramid_up_backward_kernel, levels, grad_fine, grad_coarse)
