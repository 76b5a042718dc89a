"""Spectral convolution on the CPU by the compiled kernels.

``csrc/cpu/kernels/spectral.h`` explains the method: tiles of ``N − k + 1`` outputs, a transform of
``N × N``, one complex product per frequency.
"""

import ctypes
import math
from typing import cast

import torch
from torch import Tensor

from pyramidflow.ops.allocation import dense, empty
from pyramidflow.ops.compiled_cpu import SIZE, Epilogue, Source, Spectral, call
from pyramidflow.ops.convolution import direct, methods
from pyramidflow.ops.convolution.methods import AUTOMATIC, Convolution, Method

SAME, PHASES, HALF = range(3)
"""Layouts of a result: as it is; pixels of 2×2 cells from channels; every other pixel."""

_LAYOUTS = {"none": SAME, "up": PHASES, "down": HALF}


def conv2d(x: Tensor, weight: Tensor, resample: str, tile: int) -> Tensor:
    """Convolution in the frequency domain, or directly where that is faster."""
    shape = described(x, weight, resample)
    method = methods.fastest(shape) if tile == AUTOMATIC else methods.with_tile(shape, tile)
    if method.tile == 0 or x.numel() == 0:
        return direct.conv2d(x, weight, resample, 0)
    prepared = PreparedConvolution(shape, method, weight)
    pixels = x.contiguous(memory_format=torch.channels_last)
    size = (len(x), len(weight), *output_size(shape))
    height, width = size[2:]
    y = empty((math.prod(size),), like=x).view(len(x), height, width, -1).permute(0, 3, 1, 2)
    prepared.run((source(pixels),), y, empty((prepared.workspace_size,), like=x))
    return dense(y, like=x)


def conv2d_backward(
    grad_y: Tensor,
    x: Tensor,
    weight: Tensor,
    resample: str,
    tile: int,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`conv2d`; what is not needed is empty."""
    shape = described(x, weight, resample)
    method = methods.fastest(shape) if tile == AUTOMATIC else methods.with_tile(shape, tile)
    if method.tile == 0 or resample == "down" or x.numel() == 0:
        return direct.conv2d_backward(grad_y, x, weight, resample, 0, need_x, need_weight)
    taps = weight
    if resample == "up":
        grad_y, taps = direct.phases_of(grad_y), direct.fold_upsampling(weight)
    grad_x, grad_weight = x.new_empty(0), weight.new_empty(0)
    if need_x:
        turned = taps.flip(2, 3).transpose(0, 1)  # [I, O, k, k]
        # The gradient has the result's channels, which may be more than the kernels take.
        fits = tile in methods.tiles(described(grad_y, turned, "none"))
        grad_x = dense(conv2d(grad_y, turned, "none", tile if fits else AUTOMATIC), like=x)
    if need_weight:
        grad_weight = _grad_weight(grad_y, x, taps, method.tile)
        if resample == "up":
            grad_weight = direct.unfold_gradient(grad_weight, weight.shape[-1])
    return grad_x, grad_weight.contiguous()


def _grad_weight(grad_y: Tensor, x: Tensor, taps: Tensor, tile: int) -> Tensor:
    grad = empty((taps.numel(),), like=x).view(taps.shape)
    outputs, inputs = taps.shape[:2]
    # The sums over all tiles are read and written once a block, the spectra stay in cache.
    block = 8 if inputs * outputs <= 64 * 64 else 32
    call(
        "spectral_grad_weight",
        x.contiguous(memory_format=torch.channels_last),
        grad_y.contiguous(memory_format=torch.channels_last),
        grad,
        Spectral(len(x), *x.shape[2:], inputs, 0, outputs, taps.shape[-1], tile, block, 0, SAME, 0),
    )
    return grad


def described(x: Tensor, weight: Tensor, resample: str) -> Convolution:
    """Shape of the convolution of an image and a weight."""
    batch, channels, height, width = x.shape
    resampling = cast(methods.Resampling, resample)
    return Convolution(batch, channels, len(weight), height, width, weight.shape[-1], resampling)


def output_size(shape: Convolution) -> tuple[int, int]:
    """Height and width of a convolution's result."""
    if shape.resample == "up":
        return 2 * shape.height, 2 * shape.width
    if shape.resample == "down":
        return -(-shape.height // 2), -(-shape.width // 2)
    return shape.height, shape.width


def source(x: Tensor, resize: int = 0) -> Source:
    """A channels-last image to read; ``resize`` 1: every pixel twice, −1: every other pixel."""
    return Source(x.data_ptr(), *x.shape[1:], resize)


class PreparedConvolution:
    """A convolution whose weights are in the frequency domain already.

    It runs on as many threads as PyTorch has when it is made.

    Args:
        shape: of the convolution.
        method: of :mod:`pyramidflow.ops.convolution.methods`, not the direct one; one in bfloat16
            only where :func:`pyramidflow.ops.compiled_cpu.has_bfloat16`.
        weight: ``[O, I, k, k]``.
        channels: inputs of each of two sources, where there are two.
    """

    def __init__(
        self,
        shape: Convolution,
        method: Method,
        weight: Tensor,
        channels: tuple[int, int] | None = None,
    ) -> None:
        if shape.resample == "up":
            weight = direct.fold_upsampling(weight)
        self.spectral = Spectral(
            shape.batch,
            shape.height,
            shape.width,
            *(channels or (shape.in_channels, 0)),
            len(weight),
            weight.shape[-1],
            method.tile,
            method.block,
            method.independent,
            _LAYOUTS[shape.resample],
            method.bfloat16,
        )
        # The workspace has room for this many threads: runs use no other number.
        self.threads = torch.get_num_threads()
        sizes = [SIZE() for _ in range(3)]
        call("spectral_sizes", self.spectral, *map(ctypes.byref, sizes))
        weights, self.workspace_size, self.coupling_workspace_size = (s.value for s in sizes)
        self.spectra = empty((weights,), like=weight)
        call("spectral_weights", weight.contiguous(), self.spectra, self.spectral)
        if method.bfloat16:  # they were rounded into the first half of their memory
            self.spectra = self.spectra[: weights // 2].clone()

    def run(
        self,
        sources: tuple[Source, ...],
        y: Tensor,
        workspace: Tensor,
        slope: float = 1.0,
        bias: Tensor | None = None,
        added: Tensor | None = None,
    ) -> None:
        """Convolve: ``y = leaky(conv2d(x) + bias + added)``.

        Args:
            sources: one or two, channels-last.
            y: the result, channels-last.
            workspace: float32, at least :attr:`workspace_size`.
            slope: of the result where it is negative; 1 leaves it as it is.
            bias: ``[O]``; not with an up-sampled input.
            added: channels-last, like ``y``; not with an up-sampled input.
        """
        epilogue = Epilogue(
            None if bias is None else bias.data_ptr(),
            None if added is None else added.data_ptr(),
            slope,
        )
        pair = (Source * 2)(*sources)
        call(
            "spectral_conv",
            pair,
            self.spectra,
            y,
            workspace,
            self.spectral,
            epilogue,
            threads=self.threads,
        )

    def run_coupling(
        self,
        sources: tuple[Source, ...],
        x: Tensor,
        pixel_mean: Tensor | None,
        channel_mean: Tensor,
        weight: Tensor,
        z: Tensor,
        workspace: Tensor,
        clamp: float,
    ) -> None:
        """Convolve to ``s0, t``, then couple and mix: ``z = A (exp(s) x + t)``.

        ``s = clamp · 0.636 · atan(s0 / clamp) − mean``.

        Args:
            sources: one or two, channels-last.
            x: the level, channels-last.
            pixel_mean: ``[h, w]`` of the level, or none.
            channel_mean: ``[C]``; both means are subtracted.
            weight: ``A [C, C]``.
            z: the result, channels-last; may be ``x``.
            workspace: float32, at least :attr:`coupling_workspace_size`.
            clamp: bound of the soft clamp.
        """
        call(
            "spectral_coupling",
            (Source * 2)(*sources),
            self.spectra,
            x,
            pixel_mean,
            channel_mean,
            weight,
            z,
            workspace,
            self.spectral,
            clamp,
            threads=self.threads,
        )
