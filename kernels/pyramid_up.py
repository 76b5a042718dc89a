"""One pyramid level up, subtracted from the finer level or added to it, and the transpose."""

import triton
import triton.language as tl

from .pyramid_strip import KEY, PRUNING, STRIPS, filter_both, load_pixels, locate_strip
from .tuning import autotune


@triton.jit
def _upsample(plane_ptr, row, column, height, width, fine_width, strides, mask_channel):
    """One coarse row under ``U`` along the width, at fine columns ``2·column`` and the next."""
    a = load_pixels(plane_ptr, row, column - 1, height, width, strides, mask_channel)
    b = load_pixels(plane_ptr, row, column, height, width, strides, mask_channel)
    c = load_pixels(plane_ptr, row, column + 1, height, width, strides, mask_channel)
    # Where the fine width is odd, the last coarse pixel covers one fine pixel, not two.
    middle = tl.where(2 * column + 1 < fine_width, 10.0, 6.0)
    right = tl.where(2 * column + 3 < fine_width, 5.0, 4.0)
    return (5.0 * a + middle * b + c) * 0.0625, (a + 10.0 * b + right * c) * 0.0625


@autotune(configs=STRIPS, key=KEY, prune_configs_by=PRUNING)
@triton.jit
def pyramid_up_forward_kernel(
    coarse_ptr,
    fine_ptr,
    out_ptr,
    x_strides,
    fine_strides,
    y_strides,
    channels,
    fine_height,
    fine_width,
    coarse_height,
    coarse_width,
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
    batch, channel, first_row, first_column = locate_strip(
        channels, coarse_height, coarse_width, BLOCK_C, BLOCK_H, BLOCK_W
    )
    column = first_column + tl.arange(0, BLOCK_W)[None, :]
    fine_column = 2 * first_column + tl.arange(0, 2 * BLOCK_W)[None, :]
    mask_channel = channel < channels
    mask_fine = mask_channel & (fine_column < fine_width)
    x_ptr = coarse_ptr + batch * x_strides[0] + channel * x_strides[1]
    fine_ptr = fine_ptr + batch * fine_strides[0] + channel * fine_strides[1]
    fine_ptr = fine_ptr + fine_column * fine_strides[3]
    y_ptr = out_ptr + batch * y_strides[0] + channel * y_strides[1] + fine_column * y_strides[3]
    a0, a1 = _upsample(
        x_ptr,
        first_row - 1,
        column,
        coarse_height,
        coarse_width,
        fine_width,
        x_strides,
        mask_channel,
    )
    b0, b1 = _upsample(
        x_ptr, first_row, column, coarse_height, coarse_width, fine_width, x_strides, mask_channel
    )
    for step in range(BLOCK_H):
        row = first_row + step
        c0, c1 = _upsample(
            x_ptr, row + 1, column, coarse_height, coarse_width, fine_width, x_strides, mask_channel
        )
        fine_row = 2 * row
        middle = tl.where(fine_row + 1 < fine_height, 10.0, 6.0)
        below = tl.where(fine_row + 3 < fine_height, 5.0, 4.0)
        up = tl.interleave(5.0 * a0 + middle * b0 + c0, 5.0 * a1 + middle * b1 + c1) * 0.0625
        mask = mask_fine & (fine_row < fine_height)
        fine = tl.load(fine_ptr + fine_row * fine_strides[2], mask=mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + fine_row * y_strides[2], fine + SIGN * up, mask=mask)
        up = tl.interleave(a0 + 10.0 * b0 + below * c0, a1 + 10.0 * b1 + below * c1) * 0.0625
        fine_row += 1
        mask = mask_fine & (fine_row < fine_height)
        fine = tl.load(fine_ptr + fine_row * fine_strides[2], mask=mask, other=0.0).to(tl.float32)
        tl.store(y_ptr + fine_row * y_strides[2], fine + SIGN * up, mask=mask)
        a0, a1, b0, b1 = b0, b1, c0, c1


@triton.jit
def _gather_pair(plane_ptr, row, column, height, width, strides, mask_channel):
    """One fine row under ``Uᵀ`` along the width: ``G`` summed over a coarse pixel's fine ones."""
    even, odd = filter_both(plane_ptr, row, column, height, width, strides, mask_channel)
    return even + tl.where(2 * column + 1 < width, odd, 0.0)


@autotune(configs=STRIPS, key=KEY, prune_configs_by=PRUNING)
@triton.jit
def pyramid_up_backward_kernel(
    grad_fine_ptr,
    grad_coarse_ptr,
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
    """``grad_coarse[i, j] = Σ_{p, q ∈ {0, 1}} G(grad_fine)[2i + p, 2j + q]``.

    Pixels past an odd border take no part. Bytes: reads the fine gradient once (a strip's four halo
    rows again), writes the coarse one.
    """
    batch, channel, first_row, first_column = locate_strip(
        channels, coarse_height, coarse_width, BLOCK_C, BLOCK_H, BLOCK_W
    )
    column = first_column + tl.arange(0, BLOCK_W)[None, :]
    mask_channel = channel < channels
    mask_coarse = mask_channel & (column < coarse_width)
    x_ptr = grad_fine_ptr + batch * x_strides[0] + channel * x_strides[1]
    y_ptr = grad_coarse_ptr + batch * y_strides[0] + channel * y_strides[1] + column * y_strides[3]
    row = 2 * first_row
    a = _gather_pair(x_ptr, row - 2, column, fine_height, fine_width, x_strides, mask_channel)
    b = _gather_pair(x_ptr, row - 1, column, fine_height, fine_width, x_strides, mask_channel)
    c = _gather_pair(x_ptr, row, column, fine_height, fine_width, x_strides, mask_channel)
    d = _gather_pair(x_ptr, row + 1, column, fine_height, fine_width, x_strides, mask_channel)
    for step in range(BLOCK_H):
        coarse_row = first_row + step
        row = 2 * coarse_row
        e = _gather_pair(x_ptr, row + 2, column, fine_height, fine_width, x_strides, mask_channel)
        f = _gather_pair(x_ptr, row + 3, column, fine_height, fine_width, x_strides, mask_channel)
        upper = (a + e) + 4.0 * (b + d) + 6.0 * c
        lower = (b + f) + 4.0 * (c + e) + 6.0 * d
        y = (upper + tl.where(row + 1 < fine_height, lower, 0.0)) * 0.0625
        mask = mask_coarse & (coarse_row < coarse_height)
        tl.store(y_ptr + coarse_row * y_strides[2], y, mask=mask)
        a, b, c, d = c, d, e, f
