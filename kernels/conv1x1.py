"""Invertible 1×1 convolution, alone and behind the coupling.

Products are taken in the tensors' own type and added in float32; float32 products are exact float32
products, never TF32. ``DOT_TYPE`` is the products' type: the tensors' own, except that Triton's
interpreter, which keeps bfloat16 as bare bits, needs float32.
"""

from collections.abc import Mapping
from typing import Any

import triton
import triton.language as tl

from .coupling import nearest_offset, soft_clamp, transform
from .pixels import KEY, locate_pixels, pixel_offset
from .tuning import autotune, configurations, pruner

FUSED_CHANNELS = 64
"""Most channels that :func:`coupling_conv1x1_forward_kernel` keeps in one program."""


def _forward_extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    return {
        "BLOCK_O": arguments["channels"],
        "BLOCK_C": arguments["channels"],
        "BLOCK_P": arguments["height"] * arguments["width"],
    }


def _backward_extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    return {"BLOCK_O": arguments["channels"], "BLOCK_C": arguments["channels"]}


def _fused_extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    return {"BLOCK_P": arguments["height"] * arguments["width"]}


@autotune(
    configs=configurations(
        [
            {"BLOCK_O": channels, "BLOCK_C": 16, "BLOCK_P": pixels}
            for channels in (16, 32, 64)
            for pixels in (32, 64)
        ],
        stages=(2,),
    ),
    key=KEY,
    prune_configs_by=pruner(_forward_extents, grid=("BLOCK_O", "BLOCK_P")),
)
@triton.jit
def invertible_conv1x1_forward_kernel(
    y_ptr,
    weight_ptr,
    z_ptr,
    x_strides,
    weight_strides,
    z_strides,
    channels,
    height,
    width,
    DOT_TYPE: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``z[b, o, p] = Σ_c A[o, c] y[b, c, p]``; with ``Aᵀ``, by its strides, the gradient of ``y``.

    Bytes: reads ``y`` once for each ``BLOCK_O`` output channels (once from memory, then from cache)
    and ``A``, writes ``z``.
    """
    tiles_o = (channels + BLOCK_O - 1) // BLOCK_O
    tiles_p = (height * width + BLOCK_P - 1) // BLOCK_P
    out_channel = (tl.program_id(0) % tiles_o) * BLOCK_O + tl.arange(0, BLOCK_O)[:, None]
    out_channel = out_channel.to(tl.int64)
    tile = tl.program_id(0) // tiles_o
    batch = (tile // tiles_p).to(tl.int64)
    pixel = (tile % tiles_p) * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    mask_pixel = pixel < height * width
    mask_out = out_channel < channels
    y_ptr = y_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, FLAT)
    z_ptr = z_ptr + batch * z_strides[0] + pixel_offset(pixel, width, z_strides, FLAT)
    total = tl.zeros((BLOCK_O, BLOCK_P), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)
        offset_weight = out_channel * weight_strides[0] + channel[None, :] * weight_strides[1]
        mask_weight = mask_out & (channel[None, :] < channels)
        weight = tl.load(weight_ptr + offset_weight, mask=mask_weight, other=0.0)
        mask_y = (channel[:, None] < channels) & mask_pixel
        y = tl.load(y_ptr + channel[:, None] * x_strides[1], mask=mask_y, other=0.0)
        total += tl.dot(weight.to(DOT_TYPE), y.to(DOT_TYPE), input_precision="ieee")
    tl.store(z_ptr + out_channel * z_strides[1], total, mask=mask_out & mask_pixel)


@autotune(
    configs=configurations(
        [
            {"BLOCK_O": out, "BLOCK_C": channels, "BLOCK_P": pixels}
            for out, channels in ((16, 16), (32, 32), (64, 32))
            for pixels in (32, 64)
        ],
        stages=(2,),
    ),
    key=KEY,
    prune_configs_by=pruner(_backward_extents, grid=("BLOCK_O", "BLOCK_C")),
)
@triton.jit
def invertible_conv1x1_backward_kernel(
    grad_z_ptr,
    y_ptr,
    partial_ptr,
    x_strides,
    y_strides,
    channels,
    batches,
    height,
    width,
    chunks,
    DOT_TYPE: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``partial[k, o, c] = Σ grad_z[b, o, p] y[b, c, p]`` over chunk ``k`` of samples and pixels.

    Chunk ``k`` is every ``chunks``-th tile of ``BLOCK_P`` pixels; their sum is the gradient of
    ``A``. Bytes: reads the gradient and ``y`` once for each block of channels (once from memory,
    then from cache), writes ``chunks · C²`` floats.
    """
    tiles_o = (channels + BLOCK_O - 1) // BLOCK_O
    tiles_c = (channels + BLOCK_C - 1) // BLOCK_C
    tiles_p = (height * width + BLOCK_P - 1) // BLOCK_P
    out_channel = (tl.program_id(0) % tiles_o) * BLOCK_O + tl.arange(0, BLOCK_O)[:, None]
    out_channel = out_channel.to(tl.int64)
    rest = tl.program_id(0) // tiles_o
    channel = ((rest % tiles_c) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]).to(tl.int64)
    chunk = (rest // tiles_c).to(tl.int64)
    total = tl.zeros((BLOCK_O, BLOCK_C), tl.float32)
    for tile in range(rest // tiles_c, batches * tiles_p, chunks):
        batch = (tile // tiles_p).to(tl.int64)
        pixel = (tile % tiles_p) * BLOCK_P + tl.arange(0, BLOCK_P)
        along_o = pixel[None, :]
        along_c = pixel[:, None]
        offset_grad = batch * x_strides[0] + out_channel * x_strides[1]
        offset_grad += pixel_offset(along_o, width, x_strides, FLAT)
        offset_y = batch * y_strides[0] + channel * y_strides[1]
        offset_y += pixel_offset(along_c, width, y_strides, FLAT)
        mask_grad = (out_channel < channels) & (along_o < height * width)
        mask_y = (channel < channels) & (along_c < height * width)
        grad = tl.load(grad_z_ptr + offset_grad, mask=mask_grad, other=0.0)
        y = tl.load(y_ptr + offset_y, mask=mask_y, other=0.0)
        total += tl.dot(grad.to(DOT_TYPE), y.to(DOT_TYPE), input_precision="ieee")
    partial_ptr = partial_ptr + (chunk * channels + out_channel) * channels + channel
    tl.store(partial_ptr, total, mask=(out_channel < channels) & (channel < channels))


@autotune(
    # 64 pixels spill registers at 64 channels in float32.
    configs=configurations([{"BLOCK_P": 16}, {"BLOCK_P": 32}], warps=(4, 8)),
    key=KEY,
    prune_configs_by=pruner(_fused_extents, grid=("BLOCK_P",)),
)
@triton.jit
def coupling_conv1x1_forward_kernel(
    x_ptr,
    params_ptr,
    mean_ptr,
    weight_ptr,
    z_ptr,
    sums_ptr,
    x_strides,
    params_strides,
    mean_strides,
    weight_strides,
    z_strides,
    channels,
    height,
    width,
    params_height,
    params_width,
    row_scale,
    column_scale,
    clamp_scale,
    clamp_inverse,
    DOT_TYPE: tl.constexpr,
    CHANNEL_MEAN: tl.constexpr,
    RESIZED: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``z = A (e^s x + t)`` in one pass; mean and sums as for the coupling alone.

    ``BLOCK_C`` holds every channel. Bytes: reads ``x``, ``s0``, ``t`` once, a mean that is not
    broadcast, and ``A``; writes ``z``, the mean if taken here, and one float for each pixel.
    """
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    channel = tl.arange(0, BLOCK_C).to(tl.int64)[:, None]
    mask = (channel < channels) & mask_pixel
    params_ptr = params_ptr + batch * params_strides[0]
    mean_ptr = mean_ptr + batch * mean_strides[0]
    if RESIZED:
        params_ptr = params_ptr + nearest_offset(
            pixel, width, params_height, params_width, row_scale, column_scale, params_strides
        )
        mean_ptr = mean_ptr + nearest_offset(
            pixel, width, params_height, params_width, row_scale, column_scale, mean_strides
        )
    else:
        params_ptr = params_ptr + pixel_offset(pixel, width, params_strides, FLAT)
        mean_ptr = mean_ptr + pixel_offset(pixel, width, mean_strides, FLAT)
    s0 = tl.load(params_ptr + channel * params_strides[1], mask=mask, other=0.0).to(tl.float32)
    t = tl.load(params_ptr + (channels + channel) * params_strides[1], mask=mask, other=0.0)
    x_ptr = x_ptr + batch * x_strides[0] + channel * x_strides[1]
    x = tl.load(x_ptr + pixel_offset(pixel, width, x_strides, FLAT), mask=mask, other=0.0)
    s = soft_clamp(s0, clamp_scale, clamp_inverse)
    if CHANNEL_MEAN:
        mean = (tl.sum(s, 0) / channels)[None, :]
        tl.store(mean_ptr, mean, mask=mask_pixel)
    else:
        mean = tl.load(mean_ptr + channel * mean_strides[1], mask=mask, other=0.0).to(tl.float32)
    s = tl.where(mask, s - mean, 0.0)
    y = transform(x.to(tl.float32), s, t.to(tl.float32), False)
    sums_ptr = sums_ptr + batch * height * width + pixel
    tl.store(sums_ptr, tl.sum(s, 0)[None, :], mask=mask_pixel)
    column = tl.arange(0, BLOCK_C).to(tl.int64)[None, :]
    mask_weight = (channel < channels) & (column < channels)
    offset_weight = channel * weight_strides[0] + column * weight_strides[1]
    weight = tl.load(weight_ptr + offset_weight, mask=mask_weight, other=0.0)
    z = tl.dot(weight.to(DOT_TYPE), y.to(DOT_TYPE), input_precision="ieee")
    z_ptr = z_ptr + batch * z_strides[0] + channel * z_strides[1]
    tl.store(z_ptr + pixel_offset(pixel, width, z_strides, FLAT), z, mask=mask)
