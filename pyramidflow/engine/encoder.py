"""Frozen encoders of an engine: camera pixels to a feature map, batch norm folded into weights."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pyramidflow import ops
from pyramidflow.engine.convolution import FrozenConvolution, Input, Workspace
from pyramidflow.engine.plan import Layer
from pyramidflow.model import PyramidFlow
from pyramidflow.model.encoder import BasicBlock, Lift, ResNetEncoder
from pyramidflow.ops.compiled_cpu import call
from pyramidflow.ops.planner import Convolution

Step = tuple[str, Callable[[], object]]
"""Name and action of one part of an inspection."""


class Camera:
    """What an engine reads: its buffers of pixels, and their normalisation.

    Args:
        size: batch, height and width.
        mean: ``[3]``, of images scaled to [0, 1].
        std: ``[3]``, likewise.
    """

    def __init__(self, size: tuple[int, int, int], mean: Tensor, std: Tensor) -> None:
        self.size = size
        self.mean = mean.float().contiguous()
        self.std = std.float().contiguous()
        self._buffers: dict[torch.dtype, Tensor] = {}
        self.pixels = self._buffer(torch.uint8)

    def read(self, images: Tensor) -> None:
        """Take ``[B, H, W, 3]`` of uint8 or uint16 as the next input."""
        self.pixels = self._buffer(images.dtype)
        self.pixels.copy_(images)

    @property
    def kind(self) -> str:
        """Suffix of the compiled functions for the input's type."""
        return str(self.pixels.dtype).removeprefix("torch.")

    @staticmethod
    def bytes_of(size: tuple[int, int, int]) -> int:
        """Memory for pixels of both depths."""
        return (1 + 2) * 3 * prod(size)

    def _buffer(self, dtype: torch.dtype) -> Tensor:
        if dtype not in self._buffers:
            self._buffers[dtype] = torch.empty((*self.size, 3), dtype=dtype)
        return self._buffers[dtype]


def encoder_shapes(
    network: PyramidFlow, size: tuple[int, int, int]
) -> list[tuple[str, Convolution]]:
    """Convolutions of the encoder that the plan decides on.

    Args:
        network: with any encoder.
        size: batch, height and width of the feature map.
    """
    if not isinstance(network.encoder, ResNetEncoder):
        return []
    batch, height, width = size
    shapes = []
    for name, convolution, _ in _residual_layers(network.encoder):
        outputs, inputs, kernel, _ = convolution.weight.shape
        shape = Convolution(batch, inputs, outputs, height, width, kernel)
        shapes.append((f"encoder {name}", shape))
    return shapes


def _residual_layers(
    encoder: ResNetEncoder,
) -> Iterator[tuple[str, nn.Conv2d, nn.BatchNorm2d]]:
    for index, block in enumerate(encoder.layer1, start=1):
        assert isinstance(block, BasicBlock)
        yield f"block {index}, first", block.conv1, block.bn1
        yield f"block {index}, second", block.conv2, block.bn2


def feature_size(network: PyramidFlow, height: int, width: int) -> tuple[int, int]:
    """Height and width of the feature map of an image."""
    if isinstance(network.encoder, Lift):
        return height, width
    if isinstance(network.encoder, ResNetEncoder):
        return -(-height // 4), -(-width // 4)
    device = next(network.parameters()).device
    with torch.inference_mode():
        features = network.features(torch.zeros(1, 3, height, width, device=device))
    return cast(tuple[int, int], tuple(features.shape[-2:]))


def encoder_steps(
    network: PyramidFlow,
    camera: Camera,
    layers: Sequence[Layer],
    images: Sequence[Tensor],
    workspace: Workspace,
) -> list[Step]:
    """What turns the camera's pixels into the feature map.

    Args:
        network: with any encoder, in evaluation mode.
        camera: the input.
        layers: of the plan, as many as :func:`encoder_shapes` has.
        images: ``[B, C, h, w]``, channels-last: the result, and two that ResNets use on the way.
        workspace: scratch memory.
    """
    encoder, features = network.encoder, images[0]
    if isinstance(encoder, Lift):
        return [("lift", _lift(encoder, camera, features))]
    if isinstance(encoder, ResNetEncoder):
        return _resnet(encoder, camera, layers, images, workspace)

    def run() -> None:
        image = ops.normalize_image(camera.pixels, camera.mean, camera.std)
        features.copy_(network.features(image))

    return [("encoder", run)]


def _lift(encoder: Lift, camera: Camera, features: Tensor) -> Callable[[], object]:
    batch, channels, height, width = features.shape
    weight = encoder.weight.contiguous()
    return lambda: call(
        f"lift_{camera.kind}",
        camera.pixels,
        camera.mean,
        camera.std,
        weight,
        features,
        batch * height * width,
        channels,
    )


def _resnet(
    encoder: ResNetEncoder,
    camera: Camera,
    layers: Sequence[Layer],
    images: Sequence[Tensor],
    workspace: Workspace,
) -> list[Step]:
    weight, bias = _folded(encoder.conv1, encoder.bn1)
    batch, height, width = camera.size
    features, hidden, other = images
    # The blocks' results alternate between two images, so that the last one is the feature map.
    count = len(layers) // 2
    images = [features, other] if count % 2 == 0 else [other, features]

    def stem() -> None:
        call(
            f"resnet_stem_{camera.kind}",
            camera.pixels,
            camera.mean,
            camera.std,
            weight,
            bias,
            images[0],
            batch,
            height,
            width,
            len(bias),
        )

    steps: list[Step] = [("encoder stem", stem)]
    convolutions = list(_residual_layers(encoder))
    for index in range(count):
        block_input, block_output = images[index % 2], images[(index + 1) % 2]
        for part, (x, y, added) in enumerate(
            ((block_input, hidden, None), (hidden, block_output, block_input))
        ):
            layer = layers[2 * index + part]
            weight_, bias_ = _folded(*convolutions[2 * index + part][1:])
            convolution = FrozenConvolution(layer, weight_, [Input(x)], workspace)
            steps.append((layer.name, _rectified(convolution, y, bias_, added)))
    return steps


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    fused = fuse_conv_bn_eval(convolution, norm)
    assert fused.bias is not None
    return fused.weight.detach().contiguous(), fused.bias.detach()


def _rectified(
    convolution: FrozenConvolution, y: Tensor, bias: Tensor, added: Tensor | None
) -> Callable[[], object]:
    return lambda: convolution.run(y, slope=0.0, bias=bias, added=added)
