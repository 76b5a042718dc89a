"""Inverted bottlenecks on a CPU, a strip of rows at a time.

The 1×1 convolution that expands the channels makes an image six times as large as what is read and
written. In strips it never leaves the cache, and its memory is that of one strip.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.model.frozen import Affine, FrozenSteps
from pyramidflow.model.layers import Conv, Layer, Residual, flat
from pyramidflow.runtime.folded import IN_PLACE, Encode, Place, folded_layers, folded_weight

STRIP_FLOATS = 1 << 20
"""Of a strip of the expanded image: 4 MB, which the last cache holds."""

Triple = tuple[Conv, Conv, Conv]


class Bottleneck:
    """``project(depthwise(expand(x)))``, and ``x`` added in a residual block.

    Args:
        steps: with the weights.
        layers: the three convolutions.
        place: where it runs.
        affine: of the result; ``None`` where it is not standardised.
        is_residual: whether ``x`` is added.
    """

    def __init__(
        self,
        steps: FrozenSteps,
        layers: Triple,
        place: Place,
        affine: Affine | None,
        is_residual: bool,
    ) -> None:
        self.expand, self.depthwise, self.project = layers
        self.is_residual = is_residual
        wide, bias = _biased(steps, self.expand, place, None)
        # The bias is a row for a channel of ones. Around the image that channel is zero as well:
        # so is, then, all that the depthwise convolution pads, whatever the bias.
        self._wide_matrix = torch.cat([wide.flatten(1).T, bias[None]])  # [C + 1, 6C]
        self._depth = _biased(steps, self.depthwise, place, None)
        narrow, self._bias = _biased(steps, self.project, place, affine)
        self._matrix = narrow.flatten(1).T.contiguous()  # [6C, O]
        ones = torch.ones(self.project.outputs)
        self._scale = place.vector(ones if affine is None else affine.scale)

    def __call__(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` to ``[B, O, ⌈h/s⌉, ⌈w/s⌉]``, both channels-last."""
        layer, (batch, _, height, width) = self.depthwise, x.shape
        padded = self._padded(x)  # [B, h', w', C + 1]
        rows, columns = -(-height // layer.stride), -(-width // layer.stride)
        result = x.new_empty((batch, rows, columns, self.project.outputs))
        step = self._rows(padded.shape[2])
        wide = x.new_empty((step - 1) * layer.stride + layer.kernel, padded.shape[2], layer.inputs)
        for image, first in product(range(batch), range(0, rows, step)):
            last = min(first + step, rows)
            end = (last - 1) * layer.stride + layer.kernel
            part = padded[image, first * layer.stride : end]
            strip = wide[: len(part)]
            torch.mm(part.flatten(0, 1), self._wide_matrix, out=strip.flatten(0, 1))
            self._project(IN_PLACE[self.expand.activation](strip), result[image, first:last])
        if self.is_residual:
            result.addcmul_(x.permute(0, 2, 3, 1), self._scale)
        return result.permute(0, 3, 1, 2)

    def _padded(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (self.depthwise.pads(side) for side in x.shape[2:])
        batch, channels, height, width = x.shape
        padded = x.new_zeros((batch, top + height + bottom, left + width + right, channels + 1))
        inside = padded[:, top : top + height, left : left + width]
        inside[..., :channels] = x.permute(0, 2, 3, 1)
        inside[..., channels] = 1
        return padded

    def _rows(self, width: int) -> int:
        layer = self.depthwise
        return max(1, (STRIP_FLOATS // (layer.inputs * width) - layer.kernel) // layer.stride + 1)

    def _project(self, strip: Tensor, target: Tensor) -> None:
        layer, (weight, bias) = self.depthwise, self._depth
        image = strip[None].permute(0, 3, 1, 2)  # [1, 6C, r, w'], recognised as channels-last
        y = functional.conv2d(image, weight, bias, layer.stride, groups=layer.groups)
        pixels = IN_PLACE[layer.activation](y).permute(0, 2, 3, 1).reshape(-1, layer.outputs)
        torch.addmm(self._bias, pixels, self._matrix, out=target.flatten(0, 1))


def _biased(
    steps: FrozenSteps, layer: Conv, place: Place, affine: Affine | None
) -> tuple[Tensor, Tensor]:
    weight, bias = folded_weight(steps, layer, place, affine)
    return weight, weight.new_zeros(len(weight)) if bias is None else bias


def grouped(layers: Sequence[Layer]) -> Iterator[tuple[Layer, ...]]:
    """Layers one by one, but the three of a bottleneck that stands in no residual block at once."""
    index = 0
    while index < len(layers):
        taken = 3 if _bottleneck(layers[index : index + 3]) else 1
        yield tuple(layers[index : index + taken])
        index += taken


def strip_layers(
    steps: FrozenSteps, layers: Sequence[Layer], place: Place, affine: Affine | None
) -> list[Encode]:
    """Layers as :func:`folded_layers` makes them, the bottlenecks among them in strips."""
    made: list[Encode] = []
    for group in grouped(layers):
        here = affine if group[-1] is layers[-1] else None
        triple, is_residual = inside(group)
        if triple is None:
            made += folded_layers(steps, group, place, here)
        else:
            made.append(Bottleneck(steps, triple, place, here, is_residual))
    return made


def inside(group: tuple[Layer, ...]) -> tuple[Triple | None, bool]:
    """The bottleneck that a group of layers is, if it is one, and whether it is residual."""
    first = group[0]
    if isinstance(first, Residual):
        triple = _bottleneck(first.layers) if first.activation == "none" else None
        return triple, True
    return _bottleneck(group), False


def working_floats(layers: Sequence[Layer], height: int, width: int) -> int:
    """Most floats that the layers hold at once for one image, what they read and write included.

    Each group reads an image, copies it to pad it, and writes one; a residual block keeps its input
    too, a bottleneck has a strip before and one behind its depthwise convolution.
    """
    channels, pixels, most = 3, height * width, 0
    for group in grouped(layers):
        triple, is_residual = inside(group)
        kept = channels * pixels if is_residual else 0
        if triple is not None:
            kept += 2 * STRIP_FLOATS
        for layer in flat(group) if triple is None else (triple[1],):
            read = channels * pixels
            pixels = -(-pixels // layer.stride**2)
            if isinstance(layer, Conv):
                channels = layer.outputs if triple is None else triple[2].outputs
            most = max(most, 2 * read + channels * pixels + kept)
    return most


def _bottleneck(layers: Sequence[Layer]) -> Triple | None:
    if len(layers) != 3 or not all(isinstance(layer, Conv) for layer in layers):
        return None
    expand, depthwise, project = (layer for layer in layers if isinstance(layer, Conv))
    pointwise = [(x.kernel, x.stride, x.groups) == (1, 1, 1) for x in (expand, project)]
    is_depthwise = depthwise.groups == depthwise.inputs == depthwise.outputs
    if all(pointwise) and is_depthwise and project.activation == "none":
        return expand, depthwise, project
    return None
