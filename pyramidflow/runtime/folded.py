"""Encoders with everything folded: batch norms and standardisation are part of the convolutions."""

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.fx import Node, Tracer
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pyramidflow.model.frozen import Affine, FrozenEncoder, FrozenSteps
from pyramidflow.model.layered import joined, pad
from pyramidflow.model.layers import Activation, Conv, Layer, MaxPool, Residual

Encode = Callable[[Tensor], Tensor]
"""One image ``[B, C, h, w]`` to another."""

IN_PLACE: dict[Activation, Encode] = {
    "none": lambda x: x,
    "relu": functional.relu_,
    "relu6": partial(functional.hardtanh_, min_val=0.0, max_val=6.0),
}


class Place:
    """Where folded weights go, and in which type."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype

    def vector(self, x: Tensor) -> Tensor:
        """``[C]``."""
        return x.to(self.device, self.dtype)

    def image(self, x: Tensor) -> Tensor:
        """``[C]`` to ``[C, 1, 1]``."""
        return self.vector(x)[:, None, None]

    def weight(self, x: Tensor) -> Tensor:
        """``[O, I, k, k]``, channels-last."""
        return self.vector(x).contiguous(memory_format=torch.channels_last)


def folded_weight(
    steps: FrozenSteps, layer: Conv, place: Place, affine: Affine | None
) -> tuple[Tensor, Tensor | None]:
    """Weight, channels-last, and bias of a layer with all that is linear behind it."""
    weight, bias = steps.weights(layer)
    if affine is not None:
        weight = weight * affine.scale[:, None, None, None]
        bias = affine.shift if bias is None else bias * affine.scale + affine.shift
    return place.weight(weight), None if bias is None else place.vector(bias)


def _convolution(steps: FrozenSteps, layer: Conv, place: Place, affine: Affine | None) -> Encode:
    weight, bias = folded_weight(steps, layer, place, affine)

    def run(x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (layer.pads(side) for side in x.shape[-2:])
        padding = (top, left)
        if (top, left) != (bottom, right):
            x, padding = pad(x, layer), (0, 0)
        y = functional.conv2d(x, weight, bias, layer.stride, padding, groups=layer.groups)
        return IN_PLACE[layer.activation](y)

    return run


def _residual(steps: FrozenSteps, layer: Residual, place: Place, affine: Affine | None) -> Encode:
    *first, last = layer.layers
    parts = [_convolution(steps, part, place, None) for part in first]
    parts.append(_convolution(steps, last, place, affine))
    scale = None if affine is None else place.image(affine.scale)

    def run(x: Tensor) -> Tensor:
        hidden = x
        for part in parts:
            hidden = part(hidden)
        hidden = hidden.add_(x) if scale is None else hidden.addcmul_(x, scale)
        return IN_PLACE[layer.activation](hidden)

    return run


def _folded_layer(steps: FrozenSteps, layer: Layer, place: Place, affine: Affine | None) -> Encode:
    if isinstance(layer, MaxPool):
        return partial(
            functional.max_pool2d,
            kernel_size=layer.kernel,
            stride=layer.stride,
            padding=layer.kernel // 2,
        )
    if isinstance(layer, Residual):
        return _residual(steps, layer, place, affine)
    return _convolution(steps, layer, place, affine)


def folded_layers(
    steps: FrozenSteps, layers: Sequence[Layer], place: Place, affine: Affine | None
) -> list[Encode]:
    """What computes layers one after the other.

    Args:
        steps: with the weights.
        layers: some of them.
        place: where they run.
        affine: of the last one's result, which then has no activation.
    """
    *first, last = layers
    made = [_folded_layer(steps, layer, place, None) for layer in first]
    return [*made, _folded_layer(steps, last, place, affine)]


LayersMaker = Callable[[FrozenSteps, Sequence[Layer], Place, Affine | None], list[Encode]]


class FoldedNetwork:
    """An encoder of known layers, folded; equal to it up to rounding.

    Where one stage gives the feature map, its standardisation is folded into the last layer too.

    Args:
        steps: of the encoder.
        device: where it runs.
        dtype: in which it runs.
        make: makes what computes a stage's layers.
    """

    def __init__(
        self,
        steps: FrozenSteps,
        device: torch.device,
        dtype: torch.dtype,
        make: LayersMaker = folded_layers,
    ) -> None:
        self.chosen, self.strides = steps.chosen, steps.strides
        place, affine = Place(device, dtype), steps.affine
        *first, last = steps.stages
        takes_affine = len(self.chosen) == 1 and _is_linear(last[-1])
        self._stages = [make(steps, layers, place, None) for layers in first]
        self._stages.append(make(steps, last, place, affine if takes_affine else None))
        self._affine: tuple[Tensor, Tensor] | None = None
        if affine is not None and not takes_affine:
            self._affine = place.image(affine.scale), place.image(affine.shift)

    def __call__(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, C, h, w]``."""
        kept = []
        for number, layers in enumerate(self._stages, start=1):
            for layer in layers:
                x = layer(x)
            if number in self.chosen:
                kept.append(x)
        features = joined(kept, self.strides)
        if self._affine is not None:
            scale, shift = self._affine
            features = torch.addcmul(shift, features, scale)
        return features


def _is_linear(layer: Layer) -> bool:
    return not isinstance(layer, MaxPool) and layer.activation == "none"


def frozen_encoder(encoder: FrozenEncoder, device: torch.device, dtype: torch.dtype) -> Encode:
    """An encoder for inference: batch norms and standardisation folded, channels-last.

    Args:
        encoder: any; it stays as it is.
        device: where it runs.
        dtype: in which it runs.
    """
    steps = encoder.steps()
    if steps is not None:
        return FoldedNetwork(steps, device, dtype)
    frozen: Any = folded_copy(encoder)
    return cast(Encode, frozen.to(device=device, dtype=dtype, memory_format=torch.channels_last))


def folded_copy(module: nn.Module) -> nn.Module:
    """A copy of a module whose batch norms are folded into the convolutions before them.

    Only where tracing shows that a batch norm alone reads a convolution, each used once; a module
    that cannot be traced is copied as it is. A batch norm that brings an activation keeps that.
    """
    copied = copy.deepcopy(module)
    try:
        graph = _Tracer().trace(copied)
    except Exception:  # a module of somebody else's may do anything while it is traced
        return copied
    calls = [node for node in graph.nodes if node.op == "call_module"]
    counts = Counter(node.target for node in calls)
    for node in calls:
        norm = copied.get_submodule(str(node.target))
        before = node.args[0] if len(node.args) == 1 else None
        if (
            not isinstance(norm, nn.BatchNorm2d)
            or not isinstance(before, Node)
            or before.op != "call_module"
            or len(before.users) != 1
            or counts[node.target] != 1
            or counts[before.target] != 1
        ):
            continue
        convolution = copied.get_submodule(str(before.target))
        if isinstance(convolution, nn.Conv2d):
            copied.set_submodule(str(before.target), fuse_conv_bn_eval(convolution, norm))
            rest = [part for part in norm.children() if not isinstance(part, nn.Identity)]
            copied.set_submodule(str(node.target), nn.Sequential(*rest))
    return copied


class _Tracer(Tracer):
    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        is_whole = isinstance(module, nn.BatchNorm2d | nn.Conv2d)
        return is_whole or super().is_leaf_module(module, qualified_name)
