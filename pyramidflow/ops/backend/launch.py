"""What every launch needs: the grid, the device, and what a kernel may assume of its tensors."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from pyramidflow import kernels

Grid = Callable[[Mapping[str, Any]], tuple[int]]

INTERPRETED: bool = kernels.tuning.INTERPRETED

_DOT_TYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


def device_of(x: Tensor) -> AbstractContextManager[None]:
    """Launch on the device of ``x``, whichever is the current one."""
    guard: AbstractContextManager[None] = torch.cuda.device_of(x)  # type: ignore[no-untyped-call]
    return guard


def tile_count(extent: int, block: int) -> int:
    """Blocks that cover an extent."""
    return -(-extent // block)


def strip_grid(coarse: Sequence[int]) -> Grid:
    """A program for each block of channels, rows and columns of the coarser level."""
    batch, channels, height, width = coarse

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = tile_count(channels, blocks["BLOCK_C"]) * tile_count(height, blocks["BLOCK_H"])
        return (batch * tiles * tile_count(width, blocks["BLOCK_W"]),)

    return grid


def pixel_grid(x: Tensor) -> Grid:
    """A program for each block of pixels of each sample."""
    batch, _, height, width = x.shape
    return lambda blocks: (batch * tile_count(height * width, blocks["BLOCK_P"]),)


def is_flat(*tensors: Tensor) -> bool:
    """Whether one stride reaches every pixel: the rows follow each other in memory."""
    return all(x.shape[2] == 1 or x.stride(2) == x.stride(3) * x.shape[3] for x in tensors)


def dot_type(x: Tensor) -> Any:
    """Type of a matrix product's operands; the interpreter has float32 alone."""
    return tl.float32 if INTERPRETED else _DOT_TYPES[x.dtype]
