"""First layers of a ResNet: conv1, bn1, relu, maxpool, layer1. ``[B,3,H,W] → [B,64,H/4,W/4]``.

Names of the weights are torchvision's, but the layers are written out here: importing torchvision
would take a second and 160 MB of every line's program.

Source: supplement section 1.1, pre-trained method; He et al., 2016.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.error import URLError

from pyramidflow.errors import InputError
from pyramidflow.model.encoder import LayeredEncoder
from pyramidflow.model.layers import Activation, Conv, Layer, MaxPool, Residual

if TYPE_CHECKING:
    from torch import Tensor

CHANNELS = 64
"""Of the first stage."""

RELEASED_NAMES = (("inconv.0.", "conv1."), ("inconv.1.", "bn1."), ("inconv.4.", "layer1."))
"""Beginnings of names in the authors' released code, and here."""


@dataclass(frozen=True)
class ResNetEncoder(LayeredEncoder):
    """A ResNet with ImageNet weights from torchvision."""

    def own_weights(self) -> "Mapping[str, Tensor]":
        """See :meth:`LayeredEncoder.own_weights`."""
        from torchvision import models

        weights = models.get_model_weights(self.name).IMAGENET1K_V1
        try:
            state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:
            reason = getattr(error, "reason", error)
            raise InputError(
                f"the ImageNet weights of {self.name} could not be downloaded ({reason}): fetch "
                f"{weights.url} on a machine with a network and give the file with "
                "--encoder-weights."
            ) from error
        return state


def _block(number: int) -> Residual:
    def layer(index: int, activation: Activation) -> Conv:
        conv, norm = (f"layer1.{number}.{kind}{index}" for kind in ("conv", "bn"))
        return Conv(conv, norm, CHANNELS, CHANNELS, 3, activation=activation)

    return Residual((layer(1, "relu"), layer(2, "none")), "relu")


def _stage(blocks: int) -> tuple[Layer, ...]:
    stem = Conv("conv1", "bn1", 3, CHANNELS, 7, stride=2)
    return (stem, MaxPool(3, 2), *(_block(number) for number in range(blocks)))


ENCODERS = tuple(
    ResNetEncoder(name, image_size=1024, released_names=RELEASED_NAMES, stages=(_stage(blocks),))
    for name, blocks in (("resnet18", 2), ("resnet34", 3))
)
