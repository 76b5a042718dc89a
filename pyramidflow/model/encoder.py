"""Encoders: from an image to the feature map that the pyramid decomposes. All are frozen."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyramidflow.model.drawing import drawing_device
from pyramidflow.spec import RESNET_CHANNELS

EncoderName = Literal["none", "resnet18", "resnet34"]

RESNET_BLOCKS = {"resnet18": 2, "resnet34": 3}
"""Residual blocks of that stage."""


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


class BasicBlock(nn.Module):
    """``relu(x + bn2(conv2(relu(bn1(conv1(x))))))`` with 3×3 convolutions (He et al., 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same."""
        hidden = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(x + self.bn2(self.conv2(hidden)))


class ResNetEncoder(FrozenModule):
    """First layers of a ResNet: conv1, bn1, relu, maxpool, layer1. ``[B,3,H,W] → [B,64,H/4,W/4]``.

    Names of the weights are torchvision's, but the blocks are written out here: importing
    torchvision would take a second and 160 MB of every line's program. The weights start at
    random; the pre-trained ones are loaded from outside (:mod:`pyramidflow.model.encoder_weights`).

    Args:
        name: ``"resnet18"`` or ``"resnet34"``.

    Source: supplement section 1.1, pre-trained method.
    """

    def __init__(self, name: Literal["resnet18", "resnet34"]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, RESNET_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(RESNET_CHANNELS)
        blocks = RESNET_BLOCKS[name]
        self.layer1 = nn.Sequential(*(BasicBlock(RESNET_CHANNELS) for _ in range(blocks)))
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, 64, ⌈H/4⌉, ⌈W/4⌉]``."""
        stem = functional.relu(self.bn1(self.conv1(image)))  # [B, 64, ⌈H/2⌉, ⌈W/2⌉]
        stem = functional.max_pool2d(stem, 3, stride=2, padding=1)  # [B, 64, ⌈H/4⌉, ⌈W/4⌉]
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
