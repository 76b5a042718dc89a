"""Spectral convolution on the CPU by the compiled kernels.

``csrc/convolution/convolution_spectral.h`` explains the method: tiles of ``N − k + 1`` outputs, a
transform of ``N × N``, one complex product per frequency.
"""

import copy
import ctypes
import math
from typing import cast

import torch
from torch import Tensor

from pyramidflow.ops.allocation import empty
from pyramidflow.ops.convolution import direct, methods
from pyramidflow.ops.convolution.methods import Convolution, Method
from pyramidflow.ops.libraries.cpu import function
from pyramidflow.ops.libraries.declaration import POINTER, Structure, sizes_named

SAME, PHASES, HALF = range(3)
"""Layouts of a result: as it is; pixels of 2×2 cells from channels; every other pixel."""

_LAYOUTS = {"none": SAME, "up": PHASES, "down": HALF}


class Source(Structure):
    """An image that a convolution reads, nearest-resized on the way."""

    _fields_ = (("data", POINTER), *sizes_named("channels height width resize"))


Sources = Source * 2
"""One source or two, concatenated; the second may have no channels."""


class Spectral(Structure):
    """A convolution in the frequency domain."""

    _fields_ = sizes_named(
        "batch height width channels0 channels1 out_channels kernel tile block independent layout "
        "bfloat16"
    )


class Epilogue(Structure):
    """What happens to a convolution's result before it is stored."""

    _fields_ = (("bias", POINTER), ("added", POINTER), ("slope", ctypes.c_float))


@function("spectral_sizes")
def _sizes(
    shape: Spectral, weights: Tensor, workspace: Tensor, coupling_workspace: Tensor
) -> None: ...


@function("spectral_weights")
def _weights(weight: Tensor, spectra: Tensor, shape: Spectral) -> None: ...


@function("spectral_conv")
def _convolve(
    sources: ctypes.Array[Source],
    spectra: Tensor,
    y: Tensor,
    workspace: Tensor,
    shape: Spectral,
    epilogue: Epilogue,
    threads: int | None = None,
) -> None: ...


@function("spectral_coupling")
def _couple(
    sources: ctypes.Array[Source],
    spectra: Tensor,
    x: Tensor,
    pixel_mean: Tensor | None,
    channel_mean: Tensor,
    weight: Tensor,
    z: Tensor,
    workspace: Tensor,
    shape: Spectral,
    clamp: float,
    threads: int | None = None,
) -> None: ...


@function("spectral_grad_weight")
def _grad_weight_into(x: Tensor, grad_y: Tensor, grad_weight: Tensor, shape: Spectral) -> None: ...


def grad_weight_of(x: Tensor, grad_y: Tensor, kernel: int, tile: int) -> Tensor:
    """Gradient ``[O, I, k, k]`` of the weights of a convolution without a resizing.

    Args:
        x: the input ``[B, I, H, W]``.
        grad_y: of the result ``[B, O, H, W]``.
        kernel: odd ``k``.
        tile: side of the transforms.
    """
    inputs, outputs = x.shape[1], grad_y.shape[1]
    size = (outputs, inputs, kernel, kernel)
    grad = empty((math.prod(size),), like=x).view(size)
    # The sums over all tiles are read and written once a block, the spectra stay in cache.
    block = 8 if inputs * outputs <= 64 * 64 else 32
    _grad_weight_into(
        x.contiguous(memory_format=torch.channels_last),
        grad_y.contiguous(memory_format=torch.channels_last),
        grad,
        Spectral(len(x), *x.shape[2:], inputs, 0, outputs, kernel, tile, block, 0, SAME, 0),
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
            only where :func:`pyramidflow.ops.libraries.cpu.has_bfloat16`.
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
        weights = self._take_threads()
        self.spectra = empty((weights,), like=weight)
        _weights(weight.contiguous(), self.spectra, self.spectral)
        if method.bfloat16:  # they were rounded into the first half of their memory
            self.spectra = self.spectra[: weights // 2].clone()

    def _take_threads(self) -> int:
        # The workspace has room for this many threads: runs use no other number.
        self.threads = torch.get_num_threads()
        sizes = torch.empty(3, dtype=torch.int64)
        _sizes(self.spectral, *sizes.unbind())
        weights, self.workspace_size, self.coupling_workspace_size = sizes.tolist()
        return int(weights)

    def on_threads(self) -> "PreparedConvolution":
        """The same on as many threads as PyTorch has now; both share the spectra."""
        other = copy.copy(self)
        other._take_threads()
        return other

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
        _convolve(
            Sources(*sources),
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
        _couple(
            Sources(*sources),
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
