"""A planned convolution of frozen weights, by either method, into buffers that exist already."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow import ops
from pyramidflow.interrupt import checkpoint
from pyramidflow.ops.convolution import direct, spectral
from pyramidflow.runtime.cpu.network_plan import Layer


def channels_last(*shape: int) -> Tensor:
    """A new buffer ``[B, C, H, W]``."""
    return torch.empty(shape, memory_format=torch.channels_last)


def carved(memory: Tensor, shape: tuple[int, int, int, int], offset: int = 0) -> Tensor:
    """An image ``[B, C, H, W]``, channels-last, in memory that exists, from an offset on."""
    batch, channels, height, width = shape
    floats = memory[offset : offset + batch * channels * height * width]
    return floats.view(batch, height, width, channels).permute(0, 3, 1, 2)


class Workspace:
    """Scratch memory that the convolutions of a runtime share; they run one after the other."""

    def __init__(self) -> None:
        self._floats = 0
        self._memory: Tensor | None = None

    def reserve(self, floats: int) -> None:
        """Ask for room, before the first run."""
        self._floats = max(self._floats, floats)

    @property
    def memory(self) -> Tensor:
        """Float32, as long as the longest request."""
        if self._memory is None:
            self._memory = torch.empty(self._floats)
        return self._memory


class Spectra:
    """Weights in the frequency domain, by layer: runtimes of one plan share them."""

    def __init__(self) -> None:
        self._made: dict[str, spectral.PreparedConvolution] = {}

    def prepared(
        self, layer: Layer, weight: Tensor, channels: tuple[int, int]
    ) -> spectral.PreparedConvolution:
        """A layer's convolution on as many threads as PyTorch has now."""
        made = self._made.get(layer.name)
        if made is not None:
            return made.on_threads()
        checkpoint()
        made = spectral.PreparedConvolution(layer.shape, layer.method, weight, channels)
        self._made[layer.name] = made
        return made


class Shared(NamedTuple):
    """What the convolutions of a runtime have in common.

    Attributes:
        workspace: where they get their scratch memory.
        spectra: where they get their weights.
    """

    workspace: Workspace
    spectra: Spectra


class Input:
    """An image that a convolution reads: a buffer, nearest-resized by 2 on the way.

    Args:
        x: channels-last; the pixels may change from run to run, the memory may not.
        resize: 1: every pixel twice; −1: every other pixel; 0: as it is.
    """

    def __init__(self, x: Tensor, resize: int = 0) -> None:
        self.x = x
        self.resize = resize
        self.source = spectral.source(x, resize)

    def resized(self) -> Tensor:
        """The image after the resizing."""
        if self.resize < 0:
            return self.x[:, :, ::2, ::2]
        return functional.interpolate(self.x, scale_factor=2.0) if self.resize > 0 else self.x


class FrozenConvolution:
    """A convolution with its inputs and the method that the plan chose.

    Args:
        layer: of the plan.
        weight: ``[O, I, k, k]``.
        inputs: one image, or two whose channels are concatenated.
        shared: scratch memory and spectra of the runtime.
    """

    def __init__(
        self, layer: Layer, weight: Tensor, inputs: Sequence[Input], shared: Shared
    ) -> None:
        self.workspace = shared.workspace
        self.inputs = inputs
        self.resample: ops.Resampling = layer.shape.resample
        self.weight = weight.detach()
        self.prepared: spectral.PreparedConvolution | None = None
        if layer.method.tile:
            counts = [x.x.shape[1] for x in inputs]
            channels = (counts[0], sum(counts[1:]))
            self.prepared = shared.spectra.prepared(layer, self.weight, channels)
            self.workspace.reserve(self.prepared.coupling_workspace_size)
        self._sources = tuple(x.source for x in inputs)

    def run(
        self,
        y: Tensor,
        slope: float = 1.0,
        bias: Tensor | None = None,
        added: Tensor | None = None,
    ) -> None:
        """``y = leaky(conv2d(inputs) + bias + added)``; arguments as those of the operation."""
        if self.prepared is not None:
            self.prepared.run(self._sources, y, self.workspace.memory, slope, bias, added)
            return
        result = self.convolved()
        if bias is not None:
            result += bias[:, None, None]
        if added is not None:
            result += added
        y.copy_(functional.leaky_relu_(result, slope))

    def couple(
        self,
        level: Tensor,
        pixel_mean: Tensor | None,
        channel_mean: Tensor,
        matrix: Tensor,
    ) -> None:
        """Transform a level in place: ``z = A (exp(s) x + t)`` with ``s0, t`` the convolution's.

        Args:
            level: ``[B, C, h, w]``, channels-last.
            pixel_mean: ``[h, w]``, subtracted from ``s``; or none.
            channel_mean: ``[C]``, subtracted from ``s``.
            matrix: ``A [C, C]``.
        """
        if self.prepared is None:
            mean = channel_mean[None, :, None, None]  # [1, C, 1, 1]
            mean = mean if pixel_mean is None else mean + pixel_mean
            mode = ops.CouplingMode(with_log_det=False)
            level.copy_(ops.coupling_conv1x1(level, self.convolved(), matrix, mean, mode)[0])
            return
        self.prepared.run_coupling(
            self._sources,
            level,
            pixel_mean,
            channel_mean,
            matrix,
            level,
            self.workspace.memory,
            ops.CLAMP,
        )

    def convolved(self) -> Tensor:
        """The direct convolution, newly allocated."""
        x = torch.cat([x.resized() for x in self.inputs], 1)
        return direct.conv2d(x, self.weight, self.resample)
