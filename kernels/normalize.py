"""Camera pixels to network input."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import device_of, tile_count
from .tuning import autotune, configurations


@autotune(
    configs=configurations([{"BLOCK_P": 256}, {"BLOCK_P": 1024}]),
    key=["height", "width"],
    prune_configs_by={
        "early_config_prune": lambda configs, arguments, **_: (
            configs[:1] if arguments["height"] * arguments["width"] <= 2**16 else configs[1:]
        )
    },
)
@triton.jit
def normalize_image_forward_kernel(
    image_ptr,
    mean_ptr,
    std_ptr,
    out_ptr,
    image_strides,
    height,
    width,
    full_scale,
    BLOCK_P: tl.constexpr,
):
    """``out[b, c, p] = (image[b, p, c] / full_scale − mean_c) / std_c``, ``out`` contiguous.

    Bytes: reads one or two for each channel of each pixel, writes one float of the output's type.
    """
    pixels = height * width
    tiles = (pixels + BLOCK_P - 1) // BLOCK_P
    batch = (tl.program_id(0) // tiles).to(tl.int64)
    pixel = (tl.program_id(0) % tiles) * BLOCK_P + tl.arange(0, BLOCK_P)
    mask = pixel < pixels
    row = (pixel // width).to(tl.int64)
    column = (pixel % width).to(tl.int64)
    image_ptr = image_ptr + batch * image_strides[0] + row * image_strides[1]
    image_ptr = image_ptr + column * image_strides[2]
    out_ptr = out_ptr + pixel
    for channel in tl.static_range(3):
        mean = tl.load(mean_ptr + channel).to(tl.float32)
        std = tl.load(std_ptr + channel).to(tl.float32)
        value = tl.load(image_ptr + channel * image_strides[3], mask=mask, other=0)
        scaled = value.to(tl.float32) / full_scale
        tl.store(out_ptr + (3 * batch + channel) * pixels, (scaled - mean) / std, mask=mask)


def normalize_image_forward(image: Tensor, mean: Tensor, std: Tensor, out: Tensor) -> None:
    """Write ``out [B, 3, H, W]``, dense, from ``image [B, H, W, 3]``; mean and std are dense."""
    batch, height, width, _ = image.shape
    full_scale = float(torch.iinfo(image.dtype).max)
    with device_of(image):
        normalize_image_forward_kernel[
            lambda blocks: (batch * tile_count(height * width, blocks["BLOCK_P"]),)
        ](image, mean, std, out, image.stride(), height, width, full_scale)
