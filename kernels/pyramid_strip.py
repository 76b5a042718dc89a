"""Strips of the pyramid's kernels: how a program goes over two neighbouring levels.

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


STRIPS = configurations(
    [
        {"BLOCK_C": tile // columns, "BLOCK_H": rows, "BLOCK_W": columns}
        for tile in (128, 256)
        for columns in (4, 16, 64, tile)
        for rows in (4, 8, 16)
    ],
    warps=(4,),
)
PRUNING = pruner(_extents, grid=("BLOCK_C", "BLOCK_H", "BLOCK_W"))
KEY = ["channels", "fine_height", "fine_width", "x_strides"]


@triton.jit
def locate_strip(
    channels, height, width, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr
):
    """Sample, channels ``[BLOCK_C, 1]``, first coarse row and column of this program."""
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
def load_pixels(plane_ptr, row, column, height, width, strides, mask_channel):
    """Pixels of one row as float32, zero outside the image."""
    mask = mask_channel & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    offset = row * strides[2] + column * strides[3]
    return tl.load(plane_ptr + offset, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def filter_both(plane_ptr, row, column, height, width, strides, mask_channel):
    """One row of ``G`` along the width at columns ``2·column`` and ``2·column + 1``."""
    a = load_pixels(plane_ptr, row, 2 * column - 2, height, width, strides, mask_channel)
    b = load_pixels(plane_ptr, row, 2 * column - 1, height, width, strides, mask_channel)
    c = load_pixels(plane_ptr, row, 2 * column, height, width, strides, mask_channel)
    d = load_pixels(plane_ptr, row, 2 * column + 1, height, width, strides, mask_channel)
    e = load_pixels(plane_ptr, row, 2 * column + 2, height, width, strides, mask_channel)
    f = load_pixels(plane_ptr, row, 2 * column + 3, height, width, strides, mask_channel)
    even = ((a + e) + 4.0 * (b + d) + 6.0 * c) * 0.0625
    odd = ((b + f) + 4.0 * (c + e) + 6.0 * d) * 0.0625
    return even, odd
