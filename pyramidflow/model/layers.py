"""Layers of a frozen encoder as data: network, runtimes and tiles are made from the same list.

Nothing heavy is imported: the command line's help reads encoders from here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pyramidflow.model.reach import Reach

Activation = Literal["none", "relu", "relu6"]


@dataclass(frozen=True)
class Conv:
    """``activation(norm(conv(x)))``: a convolution without bias, its batch norm, its activation.

    Attributes:
        weight: name of the convolution in the state dictionary.
        norm: name of the batch norm there; ``None`` for none.
        inputs: channels.
        outputs: channels.
        kernel: odd side of the window.
        stride: pixels between windows.
        groups: of channels; as many as channels for a depthwise convolution.
        activation: after the batch norm.
        padding: with zeros. ``"centred"`` puts ``k // 2`` on both sides. ``"same"`` is
            TensorFlow's: what the last window needs, half of it before the image, rounded down; it
            depends on whether the size is odd.
        eps: of the batch norm.
    """

    weight: str
    norm: str | None
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    groups: int = 1
    activation: Activation = "relu"
    padding: Literal["centred", "same"] = "centred"
    eps: float = 1e-5

    def pads(self, size: int) -> tuple[int, int]:
        """Zeros before and after an axis of ``size`` pixels; ``⌈size / stride⌉`` windows result."""
        before = self.kernel // 2
        if self.padding == "centred":
            return before, before
        count = -(-size // self.stride)
        total = max((count - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2

    @property
    def window(self) -> tuple[int, int]:
        """First and last pixel that window 0 reads, over all sizes."""
        pads = [self.pads(64 * self.stride + odd)[0] for odd in (0, 1)]
        return -max(pads), self.kernel - 1 - min(pads)


@dataclass(frozen=True)
class MaxPool:
    """Maximum of ``k × k`` windows, ``k // 2`` pixels padded on both sides.

    Attributes:
        kernel: odd side of the window.
        stride: pixels between windows.
    """

    kernel: int
    stride: int

    @property
    def window(self) -> tuple[int, int]:
        """First and last pixel that window 0 reads."""
        return -(self.kernel // 2), self.kernel // 2


@dataclass(frozen=True)
class Residual:
    """``activation(x + layers(x))``.

    Attributes:
        layers: one after the other; size and channels stay as they are.
        activation: of the sum.
    """

    layers: tuple[Conv, ...]
    activation: Activation = "none"


Layer = Conv | MaxPool | Residual


def flat(layers: Sequence[Layer]) -> Iterator[Conv | MaxPool]:
    """Convolutions and maxima in the order in which they run."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from layer.layers
        else:
            yield layer


def stride_of(layers: Sequence[Layer]) -> int:
    """Pixels of the input for each of the output."""
    stride = 1
    for layer in flat(layers):
        stride *= layer.stride
    return stride


def convolutions_of(layers: Sequence[Layer]) -> list[Conv]:
    """Convolutions in the order in which they run."""
    return [layer for layer in flat(layers) if isinstance(layer, Conv)]


def channels_of(layers: Sequence[Layer]) -> int:
    """Channels of the output."""
    return convolutions_of(layers)[-1].outputs


def layers_until(stages: Sequence[Sequence[Layer]], stage: int) -> tuple[Layer, ...]:
    """All layers up to a stage, numbered from 1."""
    return tuple(layer for layers in stages[:stage] for layer in layers)


def reach_of(pixels: Reach, layers: Sequence[Layer]) -> Reach:
    """Of the output, from the input's."""
    reach = pixels
    for layer in layers:
        if isinstance(layer, Residual):
            reach = reach.joined(reach_of(reach, layer.layers))
            continue
        reach = reach.window(*layer.window)
        for _ in range(layer.stride.bit_length() - 1):
            reach = reach.halved()
    return reach
