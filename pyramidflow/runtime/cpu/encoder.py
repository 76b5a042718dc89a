"""Frozen encoders of a runtime: camera pixels to a feature map, batch norm folded into weights."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyramidflow import ops
from pyramidflow.model import PyramidFlow
from pyramidflow.model.encoder import LayeredNetwork, Lift, inner
from pyramidflow.model.layers import Conv, MaxPool, Residual
from pyramidflow.ops.compiled_cpu import call
from pyramidflow.ops.convolution.methods import Convolution
from pyramidflow.runtime.cpu.bottleneck import strip_layers, working_floats
from pyramidflow.runtime.cpu.convolution import FrozenConvolution, Input, Workspace
from pyramidflow.runtime.cpu.plan import Layer
from pyramidflow.runtime.folded import Encode, FoldedNetwork, folded, folded_copy

Step = tuple[str, Callable[[], object]]
"""Name and action of one part of an inspection."""


class Camera:
    """What a runtime reads: its buffers of pixels, and their normalisation.

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
    encoder = network.encoder
    if not isinstance(encoder, LayeredNetwork) or not _is_residual(encoder):
        return []
    batch, height, width = size
    return [
        (
            f"encoder {name}",
            Convolution(batch, layer.inputs, layer.outputs, height, width, layer.kernel),
        )
        for name, layer in _residual_layers(encoder)
    ]


STEM = (Conv("conv1", "bn1", 3, 64, 7, stride=2), MaxPool(3, 2))
"""Layers that the compiled stem computes at once."""


def _is_residual(encoder: LayeredNetwork) -> bool:
    """Whether the encoder is the compiled stem, then pairs of 3×3 convolutions that are planned."""
    layers = [layer for stage in encoder.stages for layer in stage]
    return (
        encoder.chosen == (1,)
        and tuple(layers[:2]) == STEM
        and all(
            isinstance(layer, Residual)
            and layer.activation == "relu"
            and [(part.kernel, part.groups, part.activation) for part in layer.layers]
            == [(3, 1, "relu"), (3, 1, "none")]
            for layer in layers[2:]
        )
    )


def _residual_layers(encoder: LayeredNetwork) -> Iterator[tuple[str, Conv]]:
    for index, block in enumerate(encoder.stages[0][2:], start=1):
        assert isinstance(block, Residual)
        for place, layer in zip(("first", "second"), block.layers, strict=True):
            yield f"block {index}, {place}", layer


def encoder_bytes(network: PyramidFlow, size: tuple[int, int, int]) -> int:
    """Memory that the encoder allocates while it runs, beside its result.

    Args:
        network: with any encoder.
        size: batch, height and width of the images in pixels.
    """
    encoder = inner(network.encoder)
    if not isinstance(encoder, LayeredNetwork) or _is_residual(encoder):
        return 0
    batch, height, width = size
    layers = encoder.layers(encoder.chosen[-1])
    joined = 0
    if len(encoder.chosen) > 1:  # the stages' maps, up-sampled, and side by side
        joined = 3 * network.architecture.channels * prod(feature_size(network, height, width))
    image = 2 * 3 * height * width  # normalised, by channels and by pixels
    return 4 * batch * (image + working_floats(layers, height, width) + joined)


def feature_size(network: PyramidFlow, height: int, width: int) -> tuple[int, int]:
    """Height and width of the feature map of an image."""
    stride = network.architecture.stride
    if stride is not None:
        return -(-height // stride), -(-width // stride)
    device = next(network.parameters()).device
    with torch.inference_mode():
        features = network.features(torch.zeros(1, 3, height, width, device=device))
    return cast(tuple[int, int], tuple(features.shape[-2:]))


def latent_shapes(
    network: PyramidFlow, batch: int, features: tuple[int, int]
) -> list[tuple[int, int, int, int]]:
    """``(B, C, h_d, w_d)`` of each level of the latents of feature maps of a size."""
    channels = network.architecture.channels
    height, width = network.pyramid.padded_size(features)
    levels = range(network.architecture.levels)
    return [(batch, channels, height >> d, width >> d) for d in levels]


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
    if isinstance(encoder, LayeredNetwork) and _is_residual(encoder):
        return _resnet(encoder, camera, layers, images, workspace)
    encode: Encode
    if isinstance(inner(encoder), LayeredNetwork):
        encode = FoldedNetwork(encoder, features.device, torch.float32, strip_layers)
    else:
        encode = frozen_encoder(encoder, features.device, torch.float32)

    def run() -> None:
        image = ops.normalize_image(camera.pixels, camera.mean, camera.std)
        features.copy_(encode(image.contiguous(memory_format=torch.channels_last)))

    return [("encoder", run)]


def frozen_encoder(encoder: nn.Module, device: torch.device, dtype: torch.dtype) -> Encode:
    """An encoder for inference: batch norms and standardisation folded, channels-last.

    Args:
        encoder: any; it stays as it is.
        device: where it runs.
        dtype: in which it runs.
    """
    if isinstance(inner(encoder), LayeredNetwork):
        return FoldedNetwork(encoder, device, dtype)
    frozen: Any = folded_copy(encoder)
    return cast(Encode, frozen.to(device=device, dtype=dtype, memory_format=torch.channels_last))


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
    encoder: LayeredNetwork,
    camera: Camera,
    layers: Sequence[Layer],
    images: Sequence[Tensor],
    workspace: Workspace,
) -> list[Step]:
    weight, bias = folded(encoder, STEM[0])
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
            weight_, bias_ = folded(encoder, convolutions[2 * index + part][1])
            convolution = FrozenConvolution(layer, weight_, [Input(x)], workspace)
            steps.append((layer.name, _rectified(convolution, y, bias_, added)))
    return steps


def _rectified(
    convolution: FrozenConvolution, y: Tensor, bias: Tensor, added: Tensor | None
) -> Callable[[], object]:
    return lambda: convolution.run(y, slope=0.0, bias=bias, added=added)
