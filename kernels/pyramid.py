"""Invertible pyramid: one level down, one level up, and their transposes.

A program owns a strip: ``BLOCK_C`` channels, ``BLOCK_W`` coarse columns, ``BLOCK_H`` coarse rows.
It filters each row along the width as it loads it and keeps the few rows that the filter's height
needs in registers, so a row is loaded once per strip. Both directions are polyphase: where a level
is up-sampled, the filter's taps that fall on the same coarse pixel are one tap, and zeros are not
filtered.

``fine`` is ``[B, C, H, W]`` and ``coarse`` is ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``; strides are in elements.
"""

from collections.abc import Mapping
from typing import Any

import triton
import triton.language as tl

from .tuning import configurations, pruner


def _extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    return {
        "BLOCK_C": arguments["channels"],
        "BLOCK_H": arguments["coarse_height"],
        "BLOCK_W": arguments["coarse_width"],
    }


_STRIPS = configurations(
    [
        {"BLOCK_C": tile // columns, "BLOCK_H": rows, "BLOCK_W": columns}
        for tile in (128, 256)
        for columns in (4, 16, 64, tile)
        for rows in (4, 8, 16)
    ],
    warps=(4,),
)
_PRUNING = pruner(_extents, grid=("BLOCK_C", "BLOCK_H", "BLOCK_W"))
_KEY = ["channels", "fine_height", "fine_width", "x_strides"]


@triton.jit
def _locate(
    channels, height, width, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr
):
    tiles_w = (width + BLOCK_W - 1) // BLOCK_W
    tiles_h = (height + BLOCK_H - 1) // BLOCK_H
    tiles_c = (channels + BLOCK_C - 1) // BLOCK_C
    tile = tl.program_id(0)
    first_column = (tile % tiles_w).to(tl.int64) * BLOCK_W
    tile = tile // tiles_w
    first_row = (tile % tiles_h).to(tl.int64) * BLOCK_H
    tile = tile // tiles_h
    channel = (tile % tiles_c).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]
    return (tile // tiles_c).to(tl.int64), channel, first_row, first_column


@triton.jit
def _load(plane_ptr, row, column, height, width, strides, mask_channel):
    mask = mask_channel & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    offset = row * strides[2] + column * strides[3]
    return tl.load(plane_ptr + offset, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _filter_even(plane_ptr, row, column, height, width, strides, mask_channel):
    """One row of ``G`` along the width at columns ``2·column``."""
    a = _load(plane_ptr, row, 2 * column - 2, height, width, strides, mask_channel)
    b = _load(plane_ptr, row, 2 * column - 1, height, width, strides, mask_channel)
    c = _load(plane_ptr, row, 2 * column, height, width, strides, mask_channel)
    d = _load(plane_ptr, row, 2 * column + 1, height, width, strides, mask_channel)
    e = _load(plane_ptr, row, 2 * column + 2, height, width, strides, mask_channel)
    return ((a + e) + 4.0 * (b + d) + 6.0 * c) * 0.0625


@triton.jit
def _filter_both(plane_ptr, row, column, height, width, strides, mask_channel):
    """One row of ``G`` along the width at columns ``2·column`` and ``2·column + 1``."""
    a = _load(plane_ptr, row, 2 * column - 2, height, width, strides, mask_channel)
    b = _load(plane_ptr, row, 2 * column - 1, height, width, strides, mask_channel)
    c = _load(plane_ptr, row, 2 * column, height, width, strides, mask_channel)
    d = _load(plane_ptr, row, 2 * column + 1, height, width, strides, mask_channel)
    e = _load(plane_ptr, row, 2 * column + 2, height, width, strides, mask_channel)
    f = _load(plane_ptr, row, 2 * column + 3, height, width, strides, mask_channel)
    even = ((a + e) + 4.0 * (b + d) + 6.0 * c) * 0.0625
    odd = ((b + f) + 4.0 * (c + e) + 6.0 * d) * 0.0625
    return even, odd


@triton.autotune(configs=_STRIPS, key=_KEY, prune_configs_by=_PRUNING)
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
    batch, channel, first_row, first_column = _locate(
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
def _larger(best, best_index, value, index, inside):
    # PyTorch's max-pool lets NaN win; a comparison alone would drop it.
    taken = inside & ((value > best) | (value != value))
    return tl.where(taken, value, best), tl.where(taken, index, best_index)


@triton.autotune(configs=_STRIPS, key=_KEY, prune_configs_by=_PRUNING)
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
    batch, channel, first_row, first_column = _locate(
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
    a0, a1 = _filter_both(x_ptr, row - 2, column, fine_height, fine_width, x_strides, mask_channel)
    b0, b1 = _filter_both(x_ptr, row - 1, column, fine_height, fine_width, x_strides, mask_channel)
    c0, c1 = _filter_both(x_ptr, row, column, fine_height, fine_width, x_strides, mask_channel)
    d0, d1 = _filter_both(x_ptr, row + 1, column, fine_height, fine_width, x_strides, mask_channel)
    for step in range(BLOCK_H):
        coarse_row = first_row + step
        row = 2 * coarse_row
        e0, e1 = _filter_both(
            x_ptr, row + 2, column, fine_height, fine_width, x_strides, mask_channel
        )
        f0, f1 = _filter_both(
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
def _spread(plane_ptr, row, column, height, width, strides, mask_channel):
    """One coarse row under ``Gᵀ`` along the width, at fine columns ``2·column`` and the next."""
    a = _load(plane_ptr, row, column - 1, height, width, strides, mask_channel)
    b = _load(plane_ptr, row, column, height, width, strides, mask_channel)
    c = _load(plane_ptr, row, column + 1, height, width, strides, mask_channel)
    return ((a + c) + 6.0 * b) * 0.0625, (b + c) * 0.25


@triton.autotune(configs=_STRIPS, key=_KEY, prune_configs_by=_PRUNING)
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
    batch, channel, first_row, first_column = _locate(
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


@triton.autotune(configs=_STRIPS, key=_KEY, prune_configs_by=_PRUNING)
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
    batch, channel, first_row, first_column = _locate(
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


@triton.jit
def _upsample(plane_ptr, row, column, height, width, fine_width, strides, mask_channel):
    """One coarse row under ``U`` along the width, at fine columns ``2·column`` and the next."""
    a = _load(plane_ptr, row, column - 1, height, width, strides, mask_channel)
    b = _load(plane_ptr, row, column, height, width, strides, mask_channel)
    c = _load(plane_ptr, row, column + 1, height, width, strides, mask_channel)
    # Where the fine width is odd, the last coarse pixel covers one fine pixel, not two.
    middle = tl.where(2 * column + 1 < fine_width, 10.0, 6.0)
    right = tl.where(2 * column + 3 < fine_width, 5.0, 4.0)
    return (5.0 * a + middle * b + c) * 0.0625, (a + 10.0 * b + right * c) * 0.0625


@triton.autotune(configs=_STRIPS, key=_KEY, prune_configs_by=_PRUNING)
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
    batch, channel, first_row, first_column = _locate(
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
    even, odd = _filter_both(plane_ptr, row, column, height, width, strides, mask_channel)
    return even + tl.where(2 * column + 1 < width, odd, 0.0)


@triton.autotune(configs=_STRIPS, key=_KEY, prune_configs_by=_PRUNING)
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
    batch, channel, first_row, first_column = _locate(
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
