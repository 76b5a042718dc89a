"""What an encoder builds: a module that never learns, and its layers as data for the runtimes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pyramidflow.model.encoder import Stages
from pyramidflow.model.layers import Conv, Layer, layers_until, stride_of
from pyramidflow.model.state import TensorKind


@dataclass(frozen=True)
class Affine:
    """``scale · x + shift`` for each of ``C`` channels."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, eq=False)
class FrozenSteps:
    """An encoder as a runtime computes it: layers in order, with their weights.

    Attributes:
        stages: layers of each stage.
        chosen: numbers of the stages, from 1, that give the feature map side by side.
        weights: weight ``[O, I/g, k, k]`` and bias ``[O]``, or none, of a convolution with the
            batch norm behind it.
        affine: of the feature map; ``None`` for none.
    """

    stages: tuple[tuple[Layer, ...], ...]
    chosen: Stages
    weights: Callable[[Conv], tuple[Tensor, Tensor | None]]
    affine: Affine | None = None

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image for each of a chosen stage."""
        return tuple(stride_of(layers_until(self.stages, stage)) for stage in self.chosen)


class FrozenEncoder(nn.Module):
    """From an image ``[B, 3, H, W]`` to a feature map ``[B, C, h, w]``: never learns.

    It has no gradients and is always in evaluation mode.
    """

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in evaluation mode, whatever the model around it does."""
        return super().train(False)

    def steps(self) -> FrozenSteps | None:
        """Its layers for runtimes; ``None`` where only the module itself knows what it does."""
        return None

    def state_kinds(self) -> dict[str, TensorKind]:
        """What the tensors of its ``state_dict()`` have to be."""
        return {name: TensorKind.like(value) for name, value in self.state_dict().items()}

    def inverse(self, features: Tensor) -> Tensor | None:
        """Image ``[B, 3, h, w]`` of a feature map; ``None`` where there is no inverse."""
        return None

    def log_det(self, image: Tensor) -> Tensor | None:
        """Log-determinant of the map from image to features, a scalar.

        ``None`` where there is no inverse: the features then are the data.
        """
        return None


class Standardised(FrozenEncoder):
    """An encoder whose channels have mean 0 and spread 1 over the training images.

    ``x = (f(I) − mean) / std``, per channel. Until a training has measured them, mean is 0 and
    standard deviation 1.

    Args:
        network: the encoder ``f``.
        channels: ``C`` of its feature map.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: FrozenEncoder, channels: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, C, h, w]``."""
        features: Tensor = self.network(image)
        return (features - self.mean[:, None, None]) / self.std[:, None, None]

    def steps(self) -> FrozenSteps | None:
        """Those of the encoder, with the standardisation behind them."""
        steps = self.network.steps()
        if steps is None:
            return None
        scale = 1 / self.std.detach()
        return replace(steps, affine=Affine(scale, -self.mean.detach() * scale))

    def state_kinds(self) -> dict[str, TensorKind]:
        """See :meth:`FrozenEncoder.state_kinds`."""
        kinds = super().state_kinds()
        kinds |= {f"network.{name}": kind for name, kind in self.network.state_kinds().items()}
        return kinds | {"std": replace(kinds["std"], is_positive=True)}


def inner(encoder: nn.Module) -> nn.Module:
    """The encoder without its standardisation."""
    return encoder.network if isinstance(encoder, Standardised) else encoder


class CustomEncoder(FrozenEncoder):
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

    def state_kinds(self) -> dict[str, TensorKind]:
        """Types and numbers are the module's own."""
        return {
            name: TensorKind((tuple(value.shape),), value.dtype)
            for name, value in self.state_dict().items()
        }
