"""Encoders: from an image to the feature map that the pyramid decomposes. All are frozen."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

EncoderName = Literal["none", "resnet18", "resnet34"]

RESNET_CHANNELS = 64
"""Channels of a ResNet18 or ResNet34 behind its first stage."""


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
        self.register_buffer("weight", nn.init.orthogonal_(torch.empty(channels, 3)))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, h, w]`` to ``[B, C, h, w]``."""
        return functional.conv2d(image, self.weight[:, :, None, None])

    def inverse(self, features: Tensor) -> Tensor:
        """Least-squares solution ``I`` of ``W I = x``: ``[B, C, h, w]`` to ``[B, 3, h, w]``."""
        pseudo_inverse = torch.linalg.pinv(self.weight.double()).to(features.dtype)  # [3, C]
        return functional.conv2d(features, pseudo_inverse[:, :, None, None])

    def log_det(self, image: Tensor) -> Tensor:
        """``h · w · ½ logdet WᵀW`` (a scalar); zero up to rounding while ``WᵀW = I``."""
        gram = self.weight.double().T @ self.weight.double()
        log_det = 0.5 * torch.logdet(gram).to(image.dtype)
        return log_det * (image.shape[-2] * image.shape[-1])


class ResNetEncoder(FrozenModule):
    """First layers of a ResNet: conv1, bn1, relu, maxpool, layer1. ``[B,3,H,W] → [B,64,H/4,W/4]``.

    The weights start at random; the pre-trained ones are loaded from outside
    (:mod:`pyramidflow.encoder_weights`).

    Args:
        name: ``"resnet18"`` or ``"resnet34"``.

    Source: supplement section 1.1, pre-trained method.
    """

    def __init__(self, name: Literal["resnet18", "resnet34"]) -> None:
        super().__init__()
        from torchvision import models

        resnet = models.get_model(name, weights=None)
        self.conv1 = resnet.conv1
        self.bn1 = resnet.bn1
        self.relu = resnet.relu
        self.maxpool = resnet.maxpool
        self.layer1 = resnet.layer1
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, 64, ⌈H/4⌉, ⌈W/4⌉]``."""
        stem = self.maxpool(self.relu(self.bn1(self.conv1(image))))  # [B, 64, ⌈H/4⌉, ⌈W/4⌉]
        features: Tensor = self.layer1(stem)
        return features


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
