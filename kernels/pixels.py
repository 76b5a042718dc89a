"""Blocks of pixels: how a program goes over one level, all channels of a pixel together.

A program owns ``BLOCK_P`` pixels of one sample and goes through their channels ``BLOCK_C`` at a
time. Strides are in elements. ``FLAT`` says that rows follow each other without a gap in every
tensor, so that a pixel's offset needs no division.
"""

from collections.abc import Mapping
from typing import Any

import triton
import triton.language as tl

from .tuning import configurations, pruner


def _extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    return {
        "BLOCK_C": arguments["channels"],
        "BLOCK_P": arguments["height"] * arguments["width"],
    }


PIXEL_TILES = configurations(
    [
        {"BLOCK_C": channels, "BLOCK_P": tile // channels}
        for tile in (512, 1024)
        for channels in (1, 4, 8, 16, 32, 64)
    ]
)

PIXEL_PRUNING = pruner(_extents, grid=("BLOCK_P",))

KEY = ["channels", "height", "width", "x_strides"]


@triton.jit
def locate_pixels(pixels, BLOCK_P: tl.constexpr):
    """Sample and pixels ``[1, BLOCK_P]`` of this program, and which of the pixels exist."""
    tiles = (pixels + BLOCK_P - 1) // BLOCK_P
    batch = (tl.program_id(0) // tiles).to(tl.int64)
    pixel = (tl.program_id(0) % tiles) * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    return batch, pixel, pixel < pixels


@triton.jit
def pixel_offset(pixel, width, strides, FLAT: tl.constexpr):
    """Offset of each pixel in its plane."""
    if FLAT:
        return pixel.to(tl.int64) * strides[3]
    return (pixel // width).to(tl.int64) * strides[2] + (pixel % width).to(tl.int64) * strides[3]
