"""Invertible 1×1 convolution, alone and behind the coupling.

Products are taken in the tensors' own type and added in float32; float32 products are exact float32
products, never TF32. ``DOT_TYPE`` is the products' type: the tensors' own, except that Triton's
interpreter, which keeps bfloat16 as bare bits, needs float32.
"""

from collections.abc import Callable, Mapping
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .clamp import soft_clamp
from .coupling import Coupling, launch_coupling, taken_pixels, transform
from .launch import (
    block_of_channels,
    device_of,
    dot_type,
    is_flat,
    level_sizes,
    strides_of,
    tile_count,
)
from .pixels import KEY, load_float, locate_pixels, pixel_extents, pixel_offset, sample_pixels
from .tuning import Extents, autotune, configurations, pruner

FUSED_CHANNELS = 64
"""Most channels that :func:`coupling_conv1x1_forward_kernel` keeps in one program."""


def _matrix_extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    channels, _, _ = arguments["sizes"]
    return {"BLOCK_O": channels, "BLOCK_C": channels}


def _forward_extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    return _matrix_extents(arguments) | pixel_extents(arguments)


def _fused_extents(arguments: Mapping[str, Any]) -> dict[str, int]:
    return {"BLOCK_P": pixel_extents(arguments)["BLOCK_P"]}


def _tuned(
    channels: tuple[tuple[int, int], ...], extents: Extents, grid: tuple[str, ...]
) -> Callable[[Any], Any]:
    """Decorator of a matrix product: blocks of output and input channels, with 32 or 64 pixels."""
    blocks = [
        {"BLOCK_O": outputs, "BLOCK_C": inputs, "BLOCK_P": pixels}
        for outputs, inputs in channels
        for pixels in (32, 64)
    ]
    decorator: Callable[[Any], Any] = autotune(
        configs=configurations(blocks, stages=(2,)), key=KEY, prune_configs_by=pruner(extents, grid)
    )
    return decorator


@triton.jit
def _out_channels(channels, BLOCK_O: tl.constexpr):
    """This program's rows ``[BLOCK_O, 1]`` of the matrix, which of them exist, and what is left."""
    tiles_o = (channels + BLOCK_O - 1) // BLOCK_O
    channel = (tl.program_id(0) % tiles_o) * BLOCK_O + tl.arange(0, BLOCK_O)[:, None]
    channel = channel.to(tl.int64)
    return channel, channel < channels, tl.program_id(0) // tiles_o


@_tuned(((16, 16), (32, 16), (64, 16)), _forward_extents, grid=("BLOCK_O", "BLOCK_P"))
@triton.jit
def invertible_conv1x1_forward_kernel(
    y_ptr,
    weight_ptr,
    z_ptr,
    strides,
    sizes,
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
    y_strides, weight_strides, z_strides = strides
    channels, height, width = sizes
    tiles_p = (height * width + BLOCK_P - 1) // BLOCK_P
    out_channel, mask_out, tile = _out_channels(channels, BLOCK_O)
    batch = (tile // tiles_p).to(tl.int64)
    pixel = (tile % tiles_p) * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    mask_pixel = pixel < height * width
    y_ptr = sample_pixels(y_ptr, y_strides, batch, pixel, width, FLAT)
    z_ptr = sample_pixels(z_ptr, z_strides, batch, pixel, width, FLAT)
    total = tl.zeros((BLOCK_O, BLOCK_P), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)
        offset_weight = out_channel * weight_strides[0] + channel[None, :] * weight_strides[1]
        mask_weight = mask_out & (channel[None, :] < channels)
        weight = tl.load(weight_ptr + offset_weight, mask=mask_weight, other=0.0)
        mask_y = (channel[:, None] < channels) & mask_pixel
        y = tl.load(y_ptr + channel[:, None] * y_strides[1], mask=mask_y, other=0.0)
        total += tl.dot(weight.to(DOT_TYPE), y.to(DOT_TYPE), input_precision="ieee")
    tl.store(z_ptr + out_channel * z_strides[1], total, mask=mask_out & mask_pixel)


def invertible_conv1x1_forward(y: Tensor, weight: Tensor, z: Tensor) -> None:
    """Write ``z = A y``; ``weight`` is ``A [C, C]``, of any strides."""
    batch, channels, height, width = y.shape

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = tile_count(height * width, blocks["BLOCK_P"])
        return (batch * tiles * tile_count(channels, blocks["BLOCK_O"]),)

    with device_of(y):
        invertible_conv1x1_forward_kernel[grid](
            *(y, weight, z, strides_of(y, weight, z), level_sizes(y)),
            DOT_TYPE=dot_type(y),
            FLAT=is_flat(y, z),
        )


@_tuned(((16, 16), (32, 32), (64, 32)), _matrix_extents, grid=("BLOCK_O", "BLOCK_C"))
@triton.jit
def invertible_conv1x1_backward_kernel(
    grad_z_ptr,
    y_ptr,
    partial_ptr,
    strides,
    sizes,
    batches,
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
    grad_strides, y_strides = strides
    channels, height, width = sizes
    tiles_c = (channels + BLOCK_C - 1) // BLOCK_C
    tiles_p = (height * width + BLOCK_P - 1) // BLOCK_P
    out_channel, mask_out, rest = _out_channels(channels, BLOCK_O)
    channel = ((rest % tiles_c) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]).to(tl.int64)
    chunk = (rest // tiles_c).to(tl.int64)
    total = tl.zeros((BLOCK_O, BLOCK_C), tl.float32)
    for tile in range(rest // tiles_c, batches * tiles_p, chunks):
        batch = (tile // tiles_p).to(tl.int64)
        pixel = (tile % tiles_p) * BLOCK_P + tl.arange(0, BLOCK_P)
        along_o = pixel[None, :]
        along_c = pixel[:, None]
        offset_grad = batch * grad_strides[0] + out_channel * grad_strides[1]
        offset_grad += pixel_offset(along_o, width, grad_strides, FLAT)
        offset_y = batch * y_strides[0] + channel * y_strides[1]
        offset_y += pixel_offset(along_c, width, y_strides, FLAT)
        mask_grad = mask_out & (along_o < height * width)
        mask_y = (channel < channels) & (along_c < height * width)
        grad = tl.load(grad_z_ptr + offset_grad, mask=mask_grad, other=0.0)
        y = tl.load(y_ptr + offset_y, mask=mask_y, other=0.0)
        total += tl.dot(grad.to(DOT_TYPE), y.to(DOT_TYPE), input_precision="ieee")
    partial_ptr = partial_ptr + (chunk * channels + out_channel) * channels + channel
    tl.store(partial_ptr, total, mask=mask_out & (channel < channels))


def invertible_conv1x1_backward(grad_z: Tensor, y: Tensor, partial: Tensor) -> None:
    """Write ``partial [K, C, C]``, whose sum over ``K`` chunks is the gradient of the matrix."""
    chunks, channels, _ = partial.shape

    def grid(blocks: Mapping[str, Any]) -> tuple[int]:
        tiles = tile_count(channels, blocks["BLOCK_O"]) * tile_count(channels, blocks["BLOCK_C"])
        return (chunks * tiles,)

    with device_of(y):
        invertible_conv1x1_backward_kernel[grid](
            *(grad_z, y, partial, strides_of(grad_z, y), level_sizes(y), len(y), chunks),
            DOT_TYPE=dot_type(y),
            FLAT=is_flat(grad_z, y),
        )


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
    strides,
    sizes,
    resize,
    clamp,
    DOT_TYPE: tl.constexpr,
    CHANNEL_MEAN: tl.constexpr,
    WITH_SUMS: tl.constexpr,
    RESIZED: tl.constexpr,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``z = A (e^s x + t)`` in one pass; mean and sums as for the coupling alone.

    ``BLOCK_C`` holds every channel. Bytes: reads ``x``, ``s0``, ``t`` once, a mean that is not
    broadcast, and ``A``; writes ``z``, the mean if taken here, and one float for each pixel
    ``WITH_SUMS``.
    """
    x_strides, params_strides, mean_strides, weight_strides, z_strides = strides
    channels, height, width = sizes
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    channel = tl.arange(0, BLOCK_C).to(tl.int64)[:, None]
    mask = (channel < channels) & mask_pixel
    params_ptr = taken_pixels(
        params_ptr, params_strides, batch, pixel, width, resize, RESIZED, FLAT
    )
    mean_ptr = taken_pixels(mean_ptr, mean_strides, batch, pixel, width, resize, RESIZED, FLAT)
    s0 = load_float(params_ptr + channel * params_strides[1], mask)
    t = load_float(params_ptr + (channels + channel) * params_strides[1], mask)
    x_ptr = sample_pixels(x_ptr, x_strides, batch, pixel, width, FLAT)
    x = load_float(x_ptr + channel * x_strides[1], mask)
    s = soft_clamp(s0, clamp)
    if CHANNEL_MEAN:
        mean = (tl.sum(s, 0) / channels)[None, :]
        tl.store(mean_ptr, mean, mask=mask_pixel)
    else:
        mean = load_float(mean_ptr + channel * mean_strides[1], mask)
    s = tl.where(mask, s - mean, 0.0)
    y = transform(x, s, t, False)
    if WITH_SUMS:
        tl.store(sums_ptr + batch * height * width + pixel, tl.sum(s, 0)[None, :], mask=mask_pixel)
    column = tl.arange(0, BLOCK_C).to(tl.int64)[None, :]
    mask_weight = (channel < channels) & (column < channels)
    offset_weight = channel * weight_strides[0] + column * weight_strides[1]
    weight = tl.load(weight_ptr + offset_weight, mask=mask_weight, other=0.0)
    z = tl.dot(weight.to(DOT_TYPE), y.to(DOT_TYPE), input_precision="ieee")
    z_ptr = sample_pixels(z_ptr, z_strides, batch, pixel, width, FLAT)
    tl.store(z_ptr + channel * z_strides[1], z, mask=mask)


def coupling_conv1x1_forward(
    coupling: Coupling, weight: Tensor, z: Tensor, sums: Tensor | None, *, channel_mean: bool
) -> None:
    """Write ``z``; the rest as :func:`pyramidflow.kernels.coupling.affine_coupling_forward`.

    Args:
        coupling: of at most :data:`FUSED_CHANNELS` channels, not inverted.
        weight: ``A [C, C]``.
        z: the result.
        sums: of the log-scale over channels, dense, in float32; ``None`` for none.
        channel_mean: whether the mean over channels is taken here.
    """
    launch_coupling(
        coupling_conv1x1_forward_kernel,
        coupling,
        *(weight, z),
        sums=sums,
        DOT_TYPE=dot_type(z),
        CHANNEL_MEAN=channel_mean,
        BLOCK_C=block_of_channels(z),
    )
