"""The memory of a runtime on a CPU: images between its steps."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import prod

import torch
from torch import Tensor

from pyramidflow.model import PyramidFlow
from pyramidflow.ops.convolution.methods import Convolution
from pyramidflow.runtime.cpu.convolution import carved, channels_last


class PixelBuffer:
    """Pixels as they come, and their normalisation: what a runtime reads.

    Args:
        size: batch, height and width.
        mean: ``[3]``, of images scaled to [0, 1].
        std: ``[3]``, likewise.
    """

    def __init__(self, size: tuple[int, int, int], mean: Tensor, std: Tensor) -> None:
        self.size = size
        self.mean = mean.float().contiguous()
        self.std = std.float().contiguous()
        self._buffers: dict[torch.dtype, Tensor] = {}
        self.pixels = self._buffer(torch.uint8)

    def read(self, images: Tensor) -> None:
        """Take ``[B, H, W, 3]`` of uint8 or uint16 as the next input."""
        self.pixels = self._buffer(images.dtype)
        self.pixels.copy_(images)

    @staticmethod
    def bytes_of(size: tuple[int, int, int]) -> int:
        """Memory for pixels of both depths."""
        return (1 + 2) * 3 * prod(size)

    def _buffer(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self._buffers:
            self._buffers[dtype] = torch.empty((*self.size, 3), dtype=dtype)
        return self._buffers[dtype]


def _side_by_side(memory: Tensor, shapes: Sequence[tuple[int, int, int, int]]) -> list[Tensor]:
    """Channels-last images of some shapes, one behind the other in the same memory."""
    starts = [0, *accumulate(map(prod, shapes))]
    return [carved(memory, shape, start) for shape, start in zip(shapes, starts, strict=False)]


class Buffers:
    """Images between the steps, channels-last.

    What is not needed at the same time lies in the same memory: the encoder's and the pyramid's
    images, then the hidden image of each block, then a tile's part of template and spread.

    Attributes:
        encoder_images: ``[B, C, h, w]``, the encoder's result and two that it may use on the way.
        padded: ``[B, C, h_0, w_0]``, the encoder's result itself where nothing is padded.
        coarse: ``g_1 … g_{L-1}``; the last one is the coarsest level itself.
        levels: ``x_0 … x_{L-1}``, which become ``z_0 … z_{L-1}``.
        indices: of the maxima in the pyramid's cells, where it takes them.
        maps: ``[B, 1, h_d, w_d]``.
    """

    def __init__(self, network: PyramidFlow, batch: int, size: tuple[int, int]) -> None:
        channels, levels = network.architecture.channels, network.architecture.levels
        padded = network.pyramid.padded_size(size)
        shapes = [(batch, channels, padded[0] >> d, padded[1] >> d) for d in range(levels)]
        features = (batch, channels, *size)
        encoded = [features, features]
        images = [features] if size == padded else [features, shapes[0]]
        decomposed = [*images, *shapes[1:-1]]
        hidden = [(batch, 2 * channels, *padded)]
        uses = (encoded, decomposed, hidden)
        self._shared = torch.empty(max(sum(map(prod, use)) for use in uses))
        self.levels = [channels_last(*shape) for shape in shapes]
        finest = self.levels[0].permute(0, 2, 3, 1).flatten()
        self.encoder_images = [*_side_by_side(self._shared, encoded), carved(finest, features)]
        views = _side_by_side(self._shared, decomposed)
        self.padded = views[len(images) - 1]
        self.coarse = [*views[len(images) :], self.levels[-1]]
        self.indices = [
            torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
            if network.pyramid.reduction == "max"
            else None
            for shape in shapes[1:]
        ]
        self.maps = [torch.empty(batch, 1, *shape[2:]) for shape in shapes]

    def hidden(self, shape: Convolution) -> Tensor:
        """Input of a block's second convolution, ``[B, 2C, h, w]``."""
        return carved(self._shared, (shape.batch, shape.in_channels, shape.height, shape.width))

    def windows(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Two of ``[1, C, h_d, w_d]`` for each level; the second is where the next level begins."""
        offset = 0
        for level in self.levels:
            shape = (1, *level.shape[1:])
            first = carved(self._shared, shape, offset)
            offset += prod(shape)
            yield first, carved(self._shared, shape, offset)

    def bytes(self) -> int:
        """All of it."""
        indices = (index for index in self.indices if index is not None)
        tensors = [self._shared, *self.levels, *self.maps, *indices]
        return sum(x.numel() * x.element_size() for x in tensors)
