"""Encoders: from an image to the feature map that the pyramid decomposes. All are frozen."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyramidflow.model.description import Stages
from pyramidflow.model.drawing import drawing_device
from pyramidflow.model.layers import Activation, Conv, Layer, MaxPool, Residual, flat, stride_of


class FrozenModule(nn.Module):
    """A module that never learns: no gradients, always in evaluation mode."""

    def train(self, mode: bool = True) -> "FrozenModule":
        """Stay in evaluation mode, whatever the model around it does."""
        return super().train(False)


class Lift(FrozenModule):
    """Frozen semi-orthogonal 1×1 convolution: ``x = W I``, ``W [C, 3]``, ``WᵀW = I``.

    Args:
        channels: ``C``, at least 3.

    Source: paper section 3 (volume-preserving "semi-invertible" convolution).
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        weight = nn.init.orthogonal_(torch.empty(channels, 3, device=drawing_device()))
        self.register_buffer("weight", weight.to(torch.get_default_device()))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, h, w]`` to ``[B, C, h, w]``."""
        return functional.conv2d(image, self.weight[:, :, None, None])

    def inverse(self, features: Tensor) -> Tensor:
        """Least-squares solution ``I`` of ``W I = x``: ``[B, C, h, w]`` to ``[B, 3, h, w]``."""
        pseudo_inverse = torch.linalg.pinv(self.weight.double()).to(features.dtype)  # [3, C]
        return functional.conv2d(features, pseudo_inverse[:, :, None, None])

    def log_det(self, image: Tensor) -> Tensor:
        """``h · w · ½ logdet WᵀW``, zero up to rounding while ``WᵀW = I``.

        Returns:
            A scalar, float32 or wider: a sum over pixels leaves float16's range.
        """
        gram = self.weight.double().T @ self.weight.double()
        log_det = 0.5 * torch.logdet(gram) * (image.shape[-2] * image.shape[-1])
        return log_det.to(torch.promote_types(image.dtype, torch.float32))


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": functional.relu,
    "relu6": functional.relu6,
}


class LayeredNetwork(FrozenModule):
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
        self.strides = tuple(stride_of(self.layers(stage)) for stage in chosen)
        for layer in flat(self.layers(chosen[-1])):
            if isinstance(layer, Conv):
                self._add(layer)
        self.requires_grad_(False)
        self.eval()

    def layers(self, stage: int) -> tuple[Layer, ...]:
        """All layers up to a stage."""
        return tuple(layer for stage in self.stages[:stage] for layer in stage)

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
        x = self.get_submodule(layer.norm)(self.get_submodule(layer.weight)(x))
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


class Standardised(FrozenModule):
    """An encoder whose channels have mean 0 and spread 1 over the training images.

    ``x = (f(I) − mean) / std``, per channel. Until a training has measured them, mean is 0 and
    standard deviation 1.

    Args:
        network: the encoder ``f``.
        channels: ``C`` of its feature map.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: FrozenModule, channels: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, C, h, w]``."""
        features: Tensor = self.network(image)
        return (features - self.mean[:, None, None]) / self.std[:, None, None]


def inner(encoder: nn.Module) -> nn.Module:
    """The encoder without its standardisation."""
    return encoder.network if isinstance(encoder, Standardised) else encoder


class CustomEncoder(FrozenModule):
    """Any module that maps an image ``[B, 3, H, W]`` to a feature map ``[B, C, h, w]``, frozen."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, C, h, w]``."""
        features: Tensor = self.module(image)
        return features


class JoinedFeatures(nn.Module):
    """A module that returns several feature maps, as one that returns them side by side.

    Coarser ones are up-sampled bilinearly to the size of the first.

    Args:
        network: maps ``[B, 3, H, W]`` to a list of ``[B, C_i, h_i, w_i]``; or of
            ``[B, h_i, w_i, C_i]``, where its ``output_fmt`` is ``"NHWC"``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.is_channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, Σ C_i, h_0, w_0]``."""
        features = list(self.network(image))
        if self.is_channels_last:
            features = [x.permute(0, 3, 1, 2) for x in features]
        size = features[0].shape[-2:]
        resized = [functional.interpolate(x, size=size, mode="bilinear") for x in features[1:]]
        return torch.cat([features[0], *resized], 1)
