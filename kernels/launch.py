"""How a kernel is launched: its grid, its device, and what it may assume of its tensors.

Behind each kernel stands the function that launches it, from tensors: its types are those that a
launch is checked by.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tuning import INTERPRETED

Grid = Callable[[Mapping[str, Any]], tuple[int]]

_DOT_TYPES = {torch.float32: tl.float32, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16}


def device_of(x: Tensor) -> AbstractContextManager[None]:
    """Launch on the device of ``x``, whichever is the current one."""
    guard: AbstractContextManager[None] = torch.cuda.device_of(x)
    return guard


def tile_count(extent: int, block: int) -> int:
    """Blocks that cover an extent."""
    return -(-extent // block)


def pixel_grid(x: Tensor) -> Grid:
    """A program for each block of pixels of each sample."""
    batch, _, height, width = x.shape
    return lambda blocks: (batch * tile_count(height * width, blocks["BLOCK_P"]),)


def level_sizes(x: Tensor) -> tuple[int, int, int]:
    """Channels, height and width of a level ``[B, C, H, W]``."""
    return x.shape[1], x.shape[2], x.shape[3]


def strides_of(*tensors: Tensor) -> tuple[tuple[int, ...], ...]:
    """Strides of each tensor, in elements."""
    return tuple(x.stride() for x in tensors)


def is_flat(*tensors: Tensor) -> bool:
    """Whether one stride reaches every pixel: the rows follow each other in memory."""
    return all(x.shape[2] == 1 or x.stride(2) == x.stride(3) * x.shape[3] for x in tensors)


def dot_type(x: Tensor) -> Any:
    """Type of a matrix product's operands; the interpreter has float32 alone."""
    return tl.float32 if INTERPRETED else _DOT_TYPES[x.dtype]


def block_of_channels(x: Tensor) -> int:
    """``BLOCK_C`` of a kernel that keeps every channel: a matrix product has 16 at least."""
    return max(16, int(triton.next_power_of_2(x.shape[1])))
