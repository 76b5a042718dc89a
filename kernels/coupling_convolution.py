"""A coupling block behind its first convolution, in one kernel: convolution, coupling, 1×1.

The second convolution runs as a matrix product over its window (implicit GEMM): a program owns
``BLOCK_P`` pixels of one sample with all their output channels, goes through the window's places
and ``BLOCK_K`` input channels at a time, and adds in float32. What the convolution gives never
reaches memory: scale, shift and mixing of channels follow in registers.

Every tensor is dense and channels-last. The columns of the product alternate between ``s0`` and
``t`` of a channel, so that the two part without leaving their threads. ``PRECISION`` says whether
float32 products are exact (``"ieee"``) or TF32; ``DOT_TYPE`` is as in
:mod:`pyramidflow.kernels.conv1x1`.
"""

from collections.abc import Mapping
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .clamp import ClampFactors, soft_clamp
from .launch import block_of_channels, device_of, dot_type, level_sizes, pixel_grid
from .pixels import load_float, locate_pixels
from .tuning import INTERPRETED, autotune, configurations, covered

_KEY = ["sizes", "inputs", "STRIDE"]

CHANNELS_AT_MOST = 64
"""Most channels that :func:`conv_coupling_conv1x1_forward_kernel` keeps in one program."""


SHARED_BYTES = 96 * 1024
"""Shared memory that every supported architecture gives a program."""


def _prune(
    configs: list[triton.Config], arguments: Mapping[str, Any], **options: Any
) -> list[triton.Config]:
    """Keep what fits, with the fewest lanes on input channels; few pixels want small blocks."""
    arguments = {**arguments, **options}
    _, height, width = arguments["sizes"]
    inputs, pixels = arguments["inputs"], height * width
    element = arguments["hidden_ptr"].element_size()
    exact = element == 4 and arguments["PRECISION"] == "ieee"

    def fits(config: triton.Config) -> bool:
        blocks = config.kwargs
        lanes = (blocks["BLOCK_P"] + 2 * arguments["BLOCK_C"]) * blocks["BLOCK_K"]
        return bool(lanes * element * config.num_stages <= SHARED_BYTES)

    def cost(config: triton.Config) -> tuple[int, int]:
        blocks = config.kwargs
        few = pixels < 128 * blocks["BLOCK_P"]
        return covered(inputs, blocks["BLOCK_K"]), blocks["BLOCK_P"] if few else 0

    able = [config for config in configs if fits(config)]
    # Otherwise registers are spilled: float32 takes twice as many for its operands, and exact
    # products keep theirs for longer.
    if element == 4:
        able = [config for config in able if config.num_warps == 8]
    if exact:
        able = [config for config in able if config.kwargs["BLOCK_K"] == 16]
    fewest = min(cost(config) for config in able)
    kept = [config for config in able if cost(config) == fewest]
    return kept[:1] if INTERPRETED else kept


_SHAPES = ((64, 128, 8), (64, 64, 4), (64, 64, 8), (32, 64, 4), (32, 64, 8), (16, 64, 8))


@autotune(
    configs=[
        config
        for inputs, pixels, warps in _SHAPES
        for config in configurations(
            [{"BLOCK_K": inputs, "BLOCK_P": pixels}], warps=(warps,), stages=(3, 2)
        )
    ],
    key=_KEY,
    prune_configs_by={"early_config_prune": _prune},
)
@triton.jit
def conv_coupling_conv1x1_forward_kernel(
    x_ptr,
    hidden_ptr,
    kernel_ptr,
    mean_ptr,
    weight_ptr,
    z_ptr,
    mean_strides,
    sizes,
    inputs,
    hidden_size,
    clamp,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    DOT_TYPE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``z = A (e^s x + t)`` with ``s0, t = kernel ∗ hidden`` at every ``STRIDE``-th pixel.

    ``s = v − m`` with the soft-clamped ``v``. Bytes: reads ``x``, ``hidden``, a mean that
    is not broadcast, the kernel and ``A`` once from memory (the window's overlap and the kernel
    again from cache), writes ``z``.
    """
    channels, height, width = sizes
    hidden_height, hidden_width = hidden_size
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    pixel, mask_pixel = tl.trans(pixel), tl.trans(mask_pixel)
    row = pixel // width * STRIDE - SIZE // 2
    column = pixel % width * STRIDE - SIZE // 2
    hidden_ptr = hidden_ptr + batch * hidden_height * hidden_width * inputs
    product = tl.arange(0, 2 * BLOCK_C)[None, :]
    mask_product = product // 2 < channels
    out = product % 2 * channels + product // 2
    kernel_ptr = kernel_ptr + out * (SIZE * SIZE * inputs)
    blocks = (inputs + BLOCK_K - 1) // BLOCK_K
    total = tl.zeros((BLOCK_P, 2 * BLOCK_C), tl.float32)
    for step in range(0, SIZE * SIZE * blocks):
        place = step // blocks
        at_row = row + place // SIZE
        at_column = column + place % SIZE
        taken = step % blocks * BLOCK_K + tl.arange(0, BLOCK_K)
        inside = (at_row >= 0) & (at_row < hidden_height)
        inside = inside & (at_column >= 0) & (at_column < hidden_width) & mask_pixel
        offset_hidden = (at_row * hidden_width + at_column).to(tl.int64) * inputs + taken[None, :]
        mask_hidden = inside & (taken[None, :] < inputs)
        hidden = tl.load(hidden_ptr + offset_hidden, mask=mask_hidden, other=0.0)
        offset_kernel = place * inputs + taken[:, None]
        mask_kernel = (taken[:, None] < inputs) & mask_product
        kernel = tl.load(kernel_ptr + offset_kernel, mask=mask_kernel, other=0.0)
        total = tl.dot(hidden.to(DOT_TYPE), kernel.to(DOT_TYPE), total, input_precision=PRECISION)
    s0, t = tl.split(tl.reshape(total, (BLOCK_P, BLOCK_C, 2)))
    channel = tl.arange(0, BLOCK_C)[None, :]
    mask = mask_pixel & (channel < channels)
    offset = (batch * height * width + pixel) * channels + channel
    offset_mean = batch * mean_strides[0] + channel * mean_strides[1] + pixel * mean_strides[3]
    mean = load_float(mean_ptr + offset_mean, mask)
    x = load_float(x_ptr + offset, mask)
    y = tl.exp(soft_clamp(s0, clamp) - mean) * x + t
    mixed = tl.arange(0, BLOCK_C)[:, None]
    mask_weight = (mixed < channels) & (channel < channels)
    weight = tl.load(weight_ptr + channel * channels + mixed, mask=mask_weight, other=0.0)
    z = tl.dot(y.to(DOT_TYPE), weight.to(DOT_TYPE), input_precision=PRECISION)
    tl.store(z_ptr + offset, z, mask=mask)


def conv_coupling_conv1x1_forward(
    x: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    mean: Tensor,
    weight: Tensor,
    z: Tensor,
    clamp: ClampFactors,
    *,
    stride: int,
    precision: str,
) -> None:
    """Write ``z [B, C, H, W]``; every image is dense and channels-last.

    Args:
        x: the level ``[B, C, H, W]``, of at most :data:`CHANNELS_AT_MOST` channels.
        hidden: ``[B, K, H', W']``.
        kernel: ``[2C, K, k, k]``, dense and channels-last.
        mean: ``[B, C, H, W]``, one stride reaches every pixel.
        weight: ``A [C, C]``, dense.
        z: the result.
        clamp: factors of the soft clamp.
        stride: pixels of ``hidden`` for one of ``x``, each way.
        precision: of float32 products, ``"ieee"`` or ``"tf32"``.
    """
    _, inputs, *hidden_size = hidden.shape
    with device_of(x):
        conv_coupling_conv1x1_forward_kernel[pixel_grid(x)](
            *(x, hidden, kernel, mean, weight, z, mean.stride()),
            *(level_sizes(x), inputs, tuple(hidden_size), clamp),
            SIZE=kernel.shape[-1],
            STRIDE=stride,
            DOT_TYPE=dot_type(x),
            PRECISION=precision,
            BLOCK_C=block_of_channels(x),
        )
