"""Every operation with arguments, and the bytes that it must move at least."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyramidflow.ops import allocation, dispatch

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass(frozen=True)
class Case:
    """An operation with its arguments, and the tensors it must touch.

    Attributes:
        name: operation and mode.
        op: name in the backends.
        arguments: what it is called with.
        passes: bytes that the kernel moves over the least bytes.
        bound: ``"memory"``, or ``"arithmetic"`` where the processor's units are the limit.
    """

    name: str
    op: str
    arguments: tuple
    passes: float = 1.0
    bound: str = "memory"


@dataclass(frozen=True)
class Operands:
    """What the operations are called with: one sample, most of ``C`` channels at ``S × S``.

    Attributes:
        x: ``[1, C, S, S]``.
        coarse: ``[1, C, S/2, S/2]``; the next level.
        params: ``[1, 2C, S, S]``; of a coupling.
        wide: likewise, of the down block, which lies a level below.
        small: what that block couples.
        weight: ``[C, C]``, orthogonal.
        pixel: ``[1, 1, S, S]``; a running mean.
        index: of the maxima, like ``coarse``.
        pixel_taken: the mean that a coupling in training takes, for each pixel.
        channel_taken: likewise, for each channel.
        image: ``[1, S, S, 3]``, uint8.
    """

    x: Tensor
    coarse: Tensor
    params: Tensor
    wide: Tensor
    small: Tensor
    weight: Tensor
    pixel: Tensor
    index: Tensor
    pixel_taken: Tensor
    channel_taken: Tensor
    image: Tensor


CVN, SVN = ("cvn", "sample", 2.0), ("svn", "sample", 2.0)
"""Volume normalisation, statistics and clamp of a coupling."""

arithmetic = partial(Case, bound="arithmetic")


def cases(channels: int, size: int, layout: torch.memory_format) -> list[Case]:
    """Every operation at ``size × size`` with one sample of ``channels`` channels."""

    def tensor(c: int, scale: float = 1.0) -> Tensor:
        side = int(size * scale)
        return torch.randn(1, c, side, side).contiguous(memory_format=layout)

    made = _operands(channels, size, layout, tensor)
    return [
        *_pyramid(made),
        *_coupling(made, layout),
        *_conv1x1(made),
        *_convolution(made, tensor),
        *_others(made),
    ]


def _operands(
    channels: int, size: int, layout: torch.memory_format, tensor: Callable[..., Tensor]
) -> Operands:
    x, coarse, params = tensor(channels), tensor(channels, 0.5), tensor(2 * channels)
    wide, small = tensor(2 * channels), tensor(channels, 0.5)
    weight = torch.linalg.qr(torch.randn(channels, channels)).Q.contiguous()
    pixel = torch.randn(1, 1, size, size) / 9
    index = torch.randint(0, 4, coarse.shape, dtype=torch.uint8).contiguous(memory_format=layout)
    oracle = dispatch.steps("reference")
    taken = (oracle.affine_coupling(x, params, None, *kind)[1] for kind in (CVN, SVN))
    image = torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8)
    return Operands(x, coarse, params, wide, small, weight, pixel, index, *taken, image)


def _pyramid(made: Operands) -> list[Case]:
    x, coarse, index = made.x, made.coarse, made.index
    nothing, size = torch.empty(0, dtype=torch.uint8), x.shape[2:]
    return [
        Case("pyramid_down", "pyramid_down", (x, "nearest")),
        Case("pyramid_down, max", "pyramid_down", (x, "max")),
        Case("pyramid_down backward", "pyramid_down_backward", (coarse, nothing, *size, "nearest")),
        Case("pyramid_down backward, max", "pyramid_down_backward", (coarse, index, *size, "max")),
        Case("pyramid_residual", "pyramid_residual", (x, coarse)),
        Case("pyramid_merge", "pyramid_merge", (coarse, x)),
        Case("pyramid_up backward", "pyramid_up_backward", (x,)),
    ]


def _coupling(made: Operands, layout: torch.memory_format) -> list[Case]:
    x, params, pixel = made.x, made.params, made.pixel
    backward = (x, torch.ones(1), x, params)
    # Lines of the down block's input, result, parameters and mean, over the values that it uses.
    share = 2 / x.shape[1]
    lines = 1 + 1 + (4 if layout is torch.contiguous_format else 2) + share
    down_passes = lines / (1 + 1 + 2 + share / 2)
    return [
        Case("affine_coupling, evaluation", "affine_coupling", (x, params, pixel, *CVN)),
        Case("affine_coupling, CVN training", "affine_coupling", (x, params, None, *CVN)),
        Case("affine_coupling, SVN training", "affine_coupling", (x, params, None, *SVN), 5 / 4),
        Case(
            "affine_coupling, down block",
            "affine_coupling",
            (made.small, made.wide, pixel, *CVN),
            down_passes,
        ),
        Case(
            "affine_coupling backward, CVN",
            "affine_coupling_backward",
            (*backward, made.pixel_taken, False, *CVN),
            6 / 7,
        ),
        Case(
            "affine_coupling backward, SVN",
            "affine_coupling_backward",
            (*backward, made.channel_taken, False, *SVN),
            (6 + 3) / 7,
        ),
        Case("affine_coupling_inverse", "affine_coupling_inverse", (x, params, pixel, *CVN)),
        Case(
            "affine_coupling_inverse backward, CVN",
            "affine_coupling_inverse_backward",
            (*backward, made.pixel_taken, False, *CVN),
        ),
    ]


def _conv1x1(made: Operands) -> list[Case]:
    x, params, weight = made.x, made.params, made.weight
    return [
        arithmetic("invertible_conv1x1", "invertible_conv1x1", (x, weight)),
        arithmetic("invertible_conv1x1 backward", "invertible_conv1x1_backward", (x, x, weight)),
        arithmetic(
            "coupling_conv1x1, evaluation",
            "coupling_conv1x1",
            (x, params, made.pixel, weight, *CVN),
        ),
        arithmetic(
            "coupling_conv1x1 backward, CVN",
            "coupling_conv1x1_backward",
            (x, torch.ones(1), weight, x, params, made.pixel_taken, False, *CVN),
        ),
    ]


def _convolution(made: Operands, tensor: Callable[..., Tensor]) -> list[Case]:
    channels, weight = made.x.shape[1], made.weight
    # A level of the network, where its convolutions take almost all of the time.
    level, hidden, below = (
        tensor(channels, 1 / 4),
        tensor(2 * channels, 1 / 4),
        tensor(channels, 1 / 8),
    )
    kernel = torch.randn(2 * channels, 2 * channels, 7, 7) / (7 * (2 * channels) ** 0.5)
    mean = made.pixel[:, :, : level.shape[2], : level.shape[3]].contiguous()
    return [
        arithmetic("conv2d", "conv2d", (hidden, kernel, "none")),
        arithmetic("conv2d, up", "conv2d", (below, kernel[:, :channels].contiguous(), "up")),
        arithmetic("conv2d, down", "conv2d", (hidden, kernel, "down")),
        arithmetic(
            "conv2d backward", "conv2d_backward", (hidden, hidden, kernel, "none", True, True)
        ),
        arithmetic(
            "conv_coupling_conv1x1",
            "conv_coupling_conv1x1",
            (level, hidden, kernel, mean, weight, "none", 2.0),
        ),
        arithmetic(
            "conv_coupling_conv1x1, down block",
            "conv_coupling_conv1x1",
            (below, hidden, kernel, mean[:, :, ::2, ::2], weight, "down", 2.0),
        ),
    ]


def _others(made: Operands) -> list[Case]:
    x, coarse = made.x, made.coarse
    rgb = torch.tensor([0.4, 0.5, 0.6])
    return [
        Case("anomaly_map", "anomaly_map", ([x, coarse], [x + 1, coarse - 1], None, None)),
        Case(
            "anomaly_map, spread and shift",
            "anomaly_map",
            (
                [x, coarse],
                [x + 1, coarse - 1],
                [x[:1].abs(), coarse[:1].abs()],
                [y.mean((2, 3), keepdim=True) for y in (x, coarse)],
            ),
        ),
        Case("anomaly_map backward", "anomaly_map_backward", (made.pixel[0], [x], [x + 1])),
        Case("normalize_image", "normalize_image", (made.image, rgb, rgb, torch.float32)),
    ]


def least_bytes(case: Case, results: object) -> int:
    """Every input once and every output once; of resized parameters only what is used."""
    total = 0
    for value in [*flat(case.arguments), *flat(results)]:
        total += value.numel() * value.element_size()
    if case.name == "affine_coupling, down block":
        _, params, mean = case.arguments[:3]
        total -= 3 * (params.numel() + mean.numel()) * 4 // 4
    return total


def flat(value: object) -> list[Tensor]:
    """Tensors in nested sequences."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in flat(item)]
    return []


def moved(value: Any, device: str) -> Any:
    """Tensors on the device, in nested sequences too."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(moved(v, device) for v in value)
    return value


class WarmMemory:
    """Results of earlier calls, handed out again in the same order."""

    def __init__(self) -> None:
        self.allocate = allocation.empty
        self.tensors: list[Tensor] = []
        self.next = 0

    def empty(self, shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """As :func:`pyramidflow.ops.allocation.empty`."""
        if self.next == len(self.tensors):
            self.tensors.append(self.allocate(shape, like, dtype))
        self.next += 1
        return self.tensors[self.next - 1]

    def run(self, function: Callable[[], object]) -> object:
        """Call ``function`` with its results in this memory."""
        self.next = 0
        allocation.empty = self.empty
        try:
            return function()
        finally:
            allocation.empty = self.allocate


def candidate(case: Case, name: str) -> Callable[[], object]:
    """What runs a case in one backend; ``"compiled"`` is the reference, compiled by PyTorch."""
    function = getattr(dispatch.steps("reference" if name == "compiled" else name), case.op)
    if name == "compiled":
        function = torch.compile(function)
    if name != "cpu":
        return lambda: function(*case.arguments)
    memory = WarmMemory()
    return lambda: memory.run(lambda: function(*case.arguments))
