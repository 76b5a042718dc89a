"""The convolution on the CPU: in the frequency domain, or directly where that is faster."""

import math

import torch
from torch import Tensor

from pyramidflow.ops.allocation import dense, empty
from pyramidflow.ops.convolution import direct, methods, spectral
from pyramidflow.ops.convolution.convolved import Convolved


def conv2d(x: Tensor, weight: Tensor, resample: str) -> Tensor:
    """Convolution by the method that is expected to be fastest."""
    shape = spectral.described(x, weight, resample)
    method = methods.fastest(shape)
    if method.tile == 0 or x.numel() == 0:
        return direct.conv2d(x, weight, resample)
    prepared = spectral.PreparedConvolution(shape, method, weight)
    pixels = x.contiguous(memory_format=torch.channels_last)
    size = (len(x), len(weight), *spectral.output_size(shape))
    height, width = size[2:]
    y = empty((math.prod(size),), like=x).view(len(x), height, width, -1).permute(0, 3, 1, 2)
    prepared.run((spectral.source(pixels),), y, empty((prepared.workspace_size,), like=x))
    return dense(y, like=x)


def conv2d_backward(grad_y: Tensor, convolved: Convolved) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`conv2d`; what is not needed is empty."""
    x, weight, resample, need_x, need_weight = convolved
    method = methods.fastest(spectral.described(x, weight, resample))
    if method.tile == 0 or resample == "down" or x.numel() == 0:
        return direct.conv2d_backward(grad_y, convolved)
    taps = weight
    if resample == "up":
        grad_y, taps = direct.phases_of(grad_y), direct.fold_upsampling(weight)
    grad_x, grad_weight = x.new_empty(0), weight.new_empty(0)
    if need_x:
        turned = taps.flip(2, 3).transpose(0, 1)  # [I, O, k, k]
        grad_x = dense(conv2d(grad_y, turned, "none"), like=x)
    if need_weight:
        grad_weight = spectral.grad_weight_of(x, grad_y, taps.shape[-1], method.tile)
        if resample == "up":
            grad_weight = direct.unfold_gradient(grad_weight, weight.shape[-1])
    return grad_x, grad_weight.contiguous()
