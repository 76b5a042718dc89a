"""Blocks of pixels: how a program goes over one level, all channels of a pixel together.

A program owns ``BLOCK_P`` pixels of one sample and goes through their channels ``BLOCK_C`` at a
time. Strides are in elements. ``FLAT`` says that rows follow each other without a gap in every
tensor, so that a pixel's offset needs no division.

What travels together is one argument: ``sizes`` are channels, height and width, ``strides`` those
of each tensor in turn, the first one's that of the tensor which the block sizes are chosen by.
"""

from collections.abc import Mapping
from typing import Any

import triton
import triton.language as tl

from .tuning import autotune, configurations, pruner

KEY = ["sizes", "strides"]


def pixel_extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    """What the block sizes of a level cover."""
    channels, height, width = arguments["sizes"]
    return {"BLOCK_C": channels, "BLOCK_P": height * width}


PIXEL_TILES = configurations(
    [
        {"BLOCK_C": channels, "BLOCK_P": tile // channels}
        for tile in (512, 1024)
        for channels in (1, 4, 8, 16, 32, 64)
    ]
)

PIXEL_PRUNING = pruner(pixel_extents, grid=("BLOCK_P",))

tuned_on_pixels = autotune(configs=PIXEL_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
"""Decorator of a kernel whose block sizes are chosen for a level."""


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


@triton.jit
def sample_pixels(level_ptr, strides, batch, pixel, width, FLAT: tl.constexpr):
    """Pointers to each pixel of a sample's first channel."""
    return level_ptr + batch * strides[0] + pixel_offset(pixel, width, strides, FLAT)


@triton.jit
def next_channels(first, channels, mask_pixel, BLOCK_C: tl.constexpr):
    """Channels ``[BLOCK_C, 1]`` from one on, and which of their pixels exist."""
    channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
    return channel, (channel < channels) & mask_pixel


@triton.jit
def load_float(ptr, mask):
    """Elements as float32, zero where there are none."""
    return tl.load(ptr, mask=mask, other=0.0).to(tl.float32)
