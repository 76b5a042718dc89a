"""Strips of the pyramid's kernels: how a program goes over two neighbouring levels.

A program owns a strip: ``BLOCK_C`` channels, ``BLOCK_W`` coarse columns, ``BLOCK_H`` coarse rows.
It filters each row along the width as it loads it and keeps the few rows that the filter's height
needs in registers, so a row is loaded once per strip. Both directions are polyphase: where a level
is up-sampled, the filter's taps that fall on the same coarse pixel are one tap, and zeros are not
filtered.

``fine`` is ``[B, C, H, W]`` and ``coarse`` is ``[B, C, ⌈H/2⌉, ⌈W/2⌉]``; strides are in elements.
What travels together is one argument: ``sizes`` are channels, fine height and width, coarse height
and width; ``strides`` those of each tensor in turn. A ``plane`` is a level as a strip sees it:
pointers to its channels, strides, height, width, and which channels exist.
"""

from collections.abc import Mapping
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .launch import Grid, device_of, strides_of, tile_count
from .tuning import autotune, configurations, pruner


def _extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    channels, _, _, coarse_height, coarse_width = arguments["sizes"]
    return {"BLOCK_C": channels, "BLOCK_H": coarse_height, "BLOCK_W": coarse_width}


STRIPS = configurations(
    [
        {"BLOCK_C": tile // columns, "BLOCK_H": rows, "BLOCK_W": columns}
        for tile in (128, 256)
        for columns in (4, 16, 64, tile)
        for rows in (4, 8, 16)
    ],
    warps=(4,),
)

tuned_on_strips = autotune(
    configs=STRIPS,
    key=["sizes", "strides"],
    prune_configs_by=pruner(_extents, grid=("BLOCK_C", "BLOCK_H", "BLOCK_W")),
)
"""Decorator of a kernel whose block sizes are chosen for two neighbouring levels."""


def strip_grid(coarse: Tensor) -> Grid:
    """A program for each block of channels, rows and columns of the coarser level."""
    batch, channels, height, width = coarse.shape

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = tile_count(channels, blocks["BLOCK_C"]) * tile_count(height, blocks["BLOCK_H"])
        return (batch * tiles * tile_count(width, blocks["BLOCK_W"]),)

    return grid


def launch_on_strips(
    kernel: Any, levels: tuple[Tensor, Tensor], *tensors: Tensor, **constants: float
) -> None:
    """Launch a kernel that goes over two levels.

    Args:
        kernel: takes tensors, their strides, sizes and constants.
        levels: the finer and the coarser one.
        tensors: in the kernel's order.
        constants: that it is compiled with.
    """
    fine, coarse = levels
    sizes = (*fine.shape[1:], *coarse.shape[2:])
    with device_of(fine):
        kernel[strip_grid(coarse)](*tensors, strides_of(*tensors), sizes, **constants)


@triton.jit
def locate_strip(sizes, BLOCK_C: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr):
    """Sample, channels ``[BLOCK_C, 1]``, first coarse row, coarse and fine columns of this program.

    There are ``BLOCK_W`` coarse columns, and twice as many fine ones.
    """
    channels, _, _, height, width = sizes
    tiles_w = (width + BLOCK_W - 1) // BLOCK_W
    tiles_h = (height + BLOCK_H - 1) // BLOCK_H
    tiles_c = (channels + BLOCK_C - 1) // BLOCK_C
    tile = tl.program_id(0)
    first_column = (tile % tiles_w).to(tl.int64) * BLOCK_W
    tile = tile // tiles_w
    first_row = (tile % tiles_h).to(tl.int64) * BLOCK_H
    tile = tile // tiles_h
    channel = (tile % tiles_c).to(tl.int64) * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]
    column = first_column + tl.arange(0, BLOCK_W)[None, :]
    fine_column = 2 * first_column + tl.arange(0, 2 * BLOCK_W)[None, :]
    return (tile // tiles_c).to(tl.int64), channel, first_row, column, fine_column


@triton.jit
def fine_plane(level_ptr, strides, sizes, strip):
    """The finer level, or another tensor of its size."""
    level_ptr = level_ptr + strip[0] * strides[0] + strip[1] * strides[1]
    return level_ptr, strides, sizes[1], sizes[2], strip[1] < sizes[0]


@triton.jit
def coarse_plane(level_ptr, strides, sizes, strip):
    """The coarser level, or another tensor of its size."""
    level_ptr = level_ptr + strip[0] * strides[0] + strip[1] * strides[1]
    return level_ptr, strides, sizes[3], sizes[4], strip[1] < sizes[0]


@triton.jit
def place_of(plane, row, column):
    """Pointers to pixels, and which of them exist, where none lies before the first."""
    level_ptr, strides, height, width, mask_channel = plane
    mask = mask_channel & (row < height) & (column < width)
    return level_ptr + row * strides[2] + column * strides[3], mask


@triton.jit
def load_pixels(plane, row, column):
    """Pixels of one row as float32, zero outside the image."""
    pixel_ptr, mask = place_of(plane, row, column)
    mask = mask & (row >= 0) & (column >= 0)
    return tl.load(pixel_ptr, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def store_pixels(plane, row, column, values):
    """Write pixels of one row, where the image has them."""
    pixel_ptr, mask = place_of(plane, row, column)
    tl.store(pixel_ptr, values, mask=mask)


@triton.jit
def binomial(a, b, c, d, e):
    """Five neighbours under ``1 4 6 4 1``."""
    return (a + e) + 4.0 * (b + d) + 6.0 * c


@triton.jit
def filter_both(plane, row, column):
    """One row of ``G`` along the width at columns ``2·column`` and ``2·column + 1``."""
    a = load_pixels(plane, row, 2 * column - 2)
    b = load_pixels(plane, row, 2 * column - 1)
    c = load_pixels(plane, row, 2 * column)
    d = load_pixels(plane, row, 2 * column + 1)
    e = load_pixels(plane, row, 2 * column + 2)
    f = load_pixels(plane, row, 2 * column + 3)
    return binomial(a, b, c, d, e) * 0.0625, binomial(b, c, d, e, f) * 0.0625


@triton.jit
def filter_even(plane, row, column):
    """One row of ``G`` along the width at columns ``2·column``."""
    even, _ = filter_both(plane, row, column)
    return even


@triton.jit
def neighbours(plane, row, column):
    """Pixels of one row left of each column, at it, and right of it."""
    left = load_pixels(plane, row, column - 1)
    return left, load_pixels(plane, row, column), load_pixels(plane, row, column + 1)
