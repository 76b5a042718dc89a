"""The 1×1 convolution by Triton's kernels."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyramidflow import kernels
from pyramidflow.ops import allocation
from pyramidflow.ops.backend.launch import device_of, dot_type, is_flat, tile_count

GRADIENT_CHUNKS = 256
"""Most partial sums of a 1×1 convolution's weight gradient."""


def invertible_conv1x1(y: Tensor, weight: Tensor) -> Tensor:
    """``z = A y``."""
    z = allocation.empty(y.shape, like=y)
    if not z.numel():
        return z
    batch, channels, height, width = y.shape

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = tile_count(height * width, blocks["BLOCK_P"])
        return (batch * tiles * tile_count(channels, blocks["BLOCK_O"]),)

    with device_of(y):
        kernels.conv1x1.invertible_conv1x1_forward_kernel[grid](
            y,
            weight,
            z,
            y.stride(),
            weight.stride(),
            z.stride(),
            *y.shape[1:],
            DOT_TYPE=dot_type(y),
            FLAT=is_flat(y, z),
        )
    return z


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """``Aᵀ grad_z`` and ``Σ grad_z yᵀ``."""
    batch, channels, height, width = y.shape
    grad_y = allocation.dense(invertible_conv1x1(grad_z, weight.T), like=y)
    if not y.numel():
        return grad_y, torch.zeros_like(weight, memory_format=torch.contiguous_format)
    # A chunk is about 256 pixels at least, so that partial sums stay small beside what is read.
    chunks = min(GRADIENT_CHUNKS, tile_count(batch * height * width, 256))
    partial = allocation.empty((chunks, channels, channels), like=y, dtype=torch.float32)

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = tile_count(channels, blocks["BLOCK_O"]) * tile_count(channels, blocks["BLOCK_C"])
        return (chunks * tiles,)

    with device_of(y):
        kernels.conv1x1.invertible_conv1x1_backward_kernel[grid](
            grad_z,
            y,
            partial,
            grad_z.stride(),
            y.stride(),
            channels,
            batch,
            height,
            width,
            chunks,
            DOT_TYPE=dot_type(y),
            FLAT=is_flat(grad_z, y),
        )
    return grad_y, partial.sum(0).to(weight.dtype)
