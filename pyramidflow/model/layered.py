"""Encoders that are made from layers as data (``layers.py``)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pyramidflow.model.encoder import Stages
from pyramidflow.model.frozen import FrozenEncoder, FrozenSteps
from pyramidflow.model.layers import (
    Activation,
    Conv,
    Layer,
    MaxPool,
    Residual,
    convolutions_of,
    layers_until,
)
from pyramidflow.model.state import LARGEST_WEIGHT, TensorKind

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": functional.relu,
    "relu6": functional.relu6,
}


class LayeredNetwork(FrozenEncoder):
    """An encoder made from layers as data (:mod:`pyramidflow.model.layers`).

    The feature map of one stage, or those of several side by side, at the resolution of the first:
    coarser ones are up-sampled bilinearly by their whole factor and cropped. The weights start at
    random; those of a training are loaded from outside (:mod:`pyramidflow.model.encoder_weights`).

    Args:
        stages: layers of each stage; those behind the last chosen one are not built.
        chosen: numbers of stages, from 1, rising.
    """

    def __init__(self, stages: Sequence[Sequence[Layer]], chosen: Stages) -> None:
        super().__init__()
        self.chosen = chosen
        self.stages = tuple(tuple(stage) for stage in stages[: chosen[-1]])
        self.strides = self.steps().strides
        for layer in convolutions_of(layers_until(self.stages, chosen[-1])):
            self._add(layer)
        self.requires_grad_(False)
        self.eval()

    def steps(self) -> FrozenSteps:
        """See :meth:`FrozenEncoder.steps`."""
        return FrozenSteps(self.stages, self.chosen, self._folded)

    def state_kinds(self) -> dict[str, TensorKind]:
        """See :meth:`FrozenEncoder.state_kinds`."""
        kinds = super().state_kinds()
        for name, kind in kinds.items():
            if name.endswith(".running_var"):
                kinds[name] = replace(kind, least=0.0)
        for layer in convolutions_of(layers_until(self.stages, self.chosen[-1])):
            is_whole = layer.groups == 1 and layer.padding == "centred"
            if layer.kernel > 1 and is_whole:  # a runtime may compute it spectrally
                name = f"{layer.weight}.weight"
                kinds[name] = replace(kinds[name], least=-LARGEST_WEIGHT, most=LARGEST_WEIGHT)
        return kinds

    def _folded(self, layer: Conv) -> tuple[Tensor, Tensor | None]:
        """``w' = w · γ/√(σ² + ε)``, ``b' = β − μ · γ/√(σ² + ε)``."""
        convolution = self.get_submodule(layer.weight)
        assert isinstance(convolution, nn.Conv2d)
        if layer.norm is None:
            return convolution.weight.detach().contiguous(), None
        norm = self.get_submodule(layer.norm)
        assert isinstance(norm, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(convolution, norm)
        assert fused.bias is not None
        return fused.weight.detach().contiguous(), fused.bias.detach()

    def _add(self, layer: Conv) -> None:
        padding = layer.kernel // 2 if layer.padding == "centred" else 0
        convolution = nn.Conv2d(
            layer.inputs,
            layer.outputs,
            layer.kernel,
            layer.stride,
            padding,
            groups=layer.groups,
            bias=False,
        )
        _place(self, layer.weight, convolution)
        if layer.norm is not None:
            _place(self, layer.norm, nn.BatchNorm2d(layer.outputs, eps=layer.eps))

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, C, ⌈H/s⌉, ⌈W/s⌉]``, ``s`` the stride of the first stage."""
        x, kept = image, []
        for number, stage in enumerate(self.stages, start=1):
            for layer in stage:
                x = self._run(layer, x)
            if number in self.chosen:
                kept.append(x)
        return joined(kept, self.strides)

    def _run(self, layer: Layer, x: Tensor) -> Tensor:
        if isinstance(layer, MaxPool):
            return functional.max_pool2d(x, layer.kernel, layer.stride, layer.kernel // 2)
        if isinstance(layer, Residual):
            hidden = x
            for part in layer.layers:
                hidden = self._run(part, hidden)
            return ACTIVATIONS[layer.activation](x + hidden)
        if layer.padding == "same":
            x = pad(x, layer)
        x = self.get_submodule(layer.weight)(x)
        if layer.norm is not None:
            x = self.get_submodule(layer.norm)(x)
        return ACTIVATIONS[layer.activation](x)


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    *folders, last = name.split(".")
    for folder in folders:
        if not hasattr(root, folder):
            root.add_module(folder, nn.Module())
        root = root.get_submodule(folder)
    root.add_module(last, module)


def pad(x: Tensor, layer: Conv) -> Tensor:
    """``x [B, C, h, w]`` with the zeros that a convolution wants around it."""
    height, width = x.shape[-2:]
    return functional.pad(x, (*layer.pads(width), *layer.pads(height)))


def joined(features: Sequence[Tensor], strides: Sequence[int]) -> Tensor:
    """Feature maps side by side, at the resolution of the first.

    Args:
        features: ``[B, C_i, ⌈H/s_i⌉, ⌈W/s_i⌉]``.
        strides: ``s_i``, each a multiple of the first.

    Returns:
        ``[B, Σ C_i, ⌈H/s_0⌉, ⌈W/s_0⌉]``.
    """
    height, width = features[0].shape[-2:]
    resized = [
        x if stride == strides[0] else _up(x, stride // strides[0])[..., :height, :width]
        for x, stride in zip(features, strides, strict=True)
    ]
    return resized[0] if len(resized) == 1 else torch.cat(resized, 1)


def _up(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=float(factor), mode="bilinear")
