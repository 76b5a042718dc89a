"""Anomaly map: the contrast of one latent level with its template, averaged over channels.

The composition of the levels is :mod:`pyramidflow.kernels.pyramid_up`'s, on one channel.
"""

import triton
import triton.language as tl

from .pixels import KEY, PIXEL_PRUNING, PIXEL_TILES, locate_pixels, pixel_offset
from .tuning import autotune


@autotune(configs=PIXEL_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
@triton.jit
def anomaly_map_forward_kernel(
    latent_ptr,
    template_ptr,
    contrast_ptr,
    x_strides,
    template_strides,
    channels,
    height,
    width,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``contrast[b, p] = mean_c |z[b, c, p] − z̄[b, c, p]|``, float32, contiguous.

    Bytes: reads the latents and the template once, writes one float for each pixel.
    """
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    latent_ptr = latent_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, FLAT)
    template_ptr = template_ptr + batch * template_strides[0]
    template_ptr = template_ptr + pixel_offset(pixel, width, template_strides, FLAT)
    total = tl.zeros((BLOCK_P,), tl.float32)
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
        mask = (channel < channels) & mask_pixel
        z = tl.load(latent_ptr + channel * x_strides[1], mask=mask, other=0.0)
        template = tl.load(template_ptr + channel * template_strides[1], mask=mask, other=0.0)
        total += tl.sum(tl.abs(z.to(tl.float32) - template.to(tl.float32)), 0)
    contrast_ptr = contrast_ptr + batch * height * width + pixel
    tl.store(contrast_ptr, (total / channels)[None, :], mask=mask_pixel)


@autotune(configs=PIXEL_TILES, key=KEY, prune_configs_by=PIXEL_PRUNING)
@triton.jit
def anomaly_map_backward_kernel(
    grad_contrast_ptr,
    latent_ptr,
    template_ptr,
    grad_latent_ptr,
    x_strides,
    template_strides,
    grad_strides,
    channels,
    height,
    width,
    FLAT: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """``grad_z[b, c, p] = grad_contrast[b, p] · sign(z − z̄) / C``; zero where ``z = z̄``.

    Bytes: reads the latents, the template and one float for each pixel once, writes a gradient.
    """
    batch, pixel, mask_pixel = locate_pixels(height * width, BLOCK_P)
    latent_ptr = latent_ptr + batch * x_strides[0] + pixel_offset(pixel, width, x_strides, FLAT)
    template_ptr = template_ptr + batch * template_strides[0]
    template_ptr = template_ptr + pixel_offset(pixel, width, template_strides, FLAT)
    grad_latent_ptr = grad_latent_ptr + batch * grad_strides[0]
    grad_latent_ptr = grad_latent_ptr + pixel_offset(pixel, width, grad_strides, FLAT)
    grad_contrast_ptr = grad_contrast_ptr + batch * height * width + pixel
    grad = tl.load(grad_contrast_ptr, mask=mask_pixel, other=0.0) / channels
    for first in range(0, channels, BLOCK_C):
        channel = (first + tl.arange(0, BLOCK_C)).to(tl.int64)[:, None]
        mask = (channel < channels) & mask_pixel
        z = tl.load(latent_ptr + channel * x_strides[1], mask=mask, other=0.0).to(tl.float32)
        template = tl.load(template_ptr + channel * template_strides[1], mask=mask, other=0.0)
        template = template.to(tl.float32)
        grad_z = tl.where(z > template, grad, tl.where(z < template, -grad, 0.0))
        tl.store(grad_latent_ptr + channel * grad_strides[1], grad_z, mask=mask)
