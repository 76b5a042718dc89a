"""Encoders of a runtime on a CPU: pixels to a feature map, with what the compiled kernels fuse.

Which kernel computes what is found in the layers, never by an encoder's name: a 1×1 convolution of
the pixels alone; the stem of a 7×7 convolution and a maximum before residual blocks of 3×3
convolutions, which are planned; any other layers in strips (``bottleneck.py``); a module whose
layers are not known, as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.model import FrozenSteps, PyramidFlow
from pyramidflow.model.layers import Conv, MaxPool, Residual, convolutions_of, layers_until
from pyramidflow.ops.convolution.methods import Convolution
from pyramidflow.runtime.cpu.bottleneck import strip_layers, working_floats
from pyramidflow.runtime.cpu.buffers import PixelBuffer
from pyramidflow.runtime.cpu.convolution import FrozenConvolution, Input, Shared
from pyramidflow.runtime.cpu.network_plan import Layer
from pyramidflow.runtime.cpu.stem import lift_into, resnet_stem_into
from pyramidflow.runtime.folded import FoldedNetwork, frozen_encoder

Step = tuple[str, Callable[[], object]]
"""Name and action of one part of an inspection."""


def encoder_shapes(
    network: PyramidFlow, size: tuple[int, int, int]
) -> list[tuple[str, Convolution]]:
    """Convolutions of the encoder that the plan decides on.

    Args:
        network: with any encoder.
        size: batch, height and width of the feature map.
    """
    steps = network.encoder.steps()
    if steps is None or not _is_residual(steps):
        return []
    batch, height, width = size
    return [
        (
            f"encoder {name}",
            Convolution(batch, layer.inputs, layer.outputs, height, width, layer.kernel),
        )
        for name, layer in _residual_layers(steps)
    ]


def _is_mix(steps: FrozenSteps) -> bool:
    """Whether it is one 1×1 convolution of the pixels without bias, in float32."""
    if steps.affine is not None or steps.chosen != (1,) or len(steps.stages[0]) != 1:
        return False
    layer = steps.stages[0][0]
    return (
        isinstance(layer, Conv)
        and (layer.inputs, layer.kernel, layer.stride, layer.groups) == (3, 1, 1, 1)
        and (layer.norm, layer.activation) == (None, "none")
    )


def _is_residual(steps: FrozenSteps) -> bool:
    """Whether it is the compiled stem, then pairs of 3×3 convolutions that are planned."""
    if steps.affine is not None or steps.chosen != (1,) or len(steps.stages[0]) < 2:
        return False
    stem, pool, *blocks = steps.stages[0]
    return (
        isinstance(stem, Conv)
        and (stem.inputs, stem.kernel, stem.stride, stem.groups) == (3, 7, 2, 1)
        and (stem.activation, stem.padding) == ("relu", "centred")
        and stem.norm is not None
        and pool == MaxPool(3, 2)
        and all(isinstance(block, Residual) and _is_planned(block) for block in blocks)
    )


def _is_planned(block: Residual) -> bool:
    parts = [(x.kernel, x.groups, x.padding, x.activation) for x in block.layers]
    return (
        block.activation == "relu"
        and parts == [(3, 1, "centred", "relu"), (3, 1, "centred", "none")]
        and all(part.norm is not None for part in block.layers)
    )


def _residual_layers(steps: FrozenSteps) -> Iterator[tuple[str, Conv]]:
    for index, block in enumerate(steps.stages[0][2:], start=1):
        assert isinstance(block, Residual)
        for place, layer in zip(("first", "second"), block.layers, strict=True):
            yield f"block {index}, {place}", layer


def encoder_bytes(network: PyramidFlow, size: tuple[int, int, int]) -> int:
    """Memory that the encoder allocates while it runs, beside its result.

    Args:
        network: with any encoder.
        size: batch, height and width of the images in pixels.
    """
    steps = network.encoder.steps()
    if steps is None or _is_mix(steps) or _is_residual(steps):
        return 0
    batch, height, width = size
    layers = layers_until(steps.stages, steps.chosen[-1])
    joined = 0
    if len(steps.chosen) > 1:  # the stages' maps, up-sampled, and side by side
        joined = 3 * network.architecture.channels * prod(network.feature_size(height, width))
    image = 2 * 3 * height * width  # normalised, by channels and by pixels
    return 4 * batch * (image + working_floats(layers, height, width) + joined)


def encoder_steps(
    network: PyramidFlow,
    pixels: PixelBuffer,
    layers: Sequence[Layer],
    images: Sequence[Tensor],
    shared: Shared,
) -> list[Step]:
    """What turns pixels into the feature map.

    Args:
        network: with any encoder, in evaluation mode.
        pixels: the input.
        layers: of the plan, as many as :func:`encoder_shapes` has.
        images: ``[B, C, h, w]``, channels-last: the result, and two that residual blocks use on the
            way.
        shared: of the runtime's convolutions.
    """
    steps, features = network.encoder.steps(), images[0]
    if steps is None:
        encode = frozen_encoder(network.encoder, features.device, torch.float32)
    elif _is_mix(steps):
        return [("lift", _mix(steps, pixels, features))]
    elif _is_residual(steps):
        return _residual(steps, pixels, layers, images, shared)
    else:
        encode = FoldedNetwork(steps, features.device, torch.float32, strip_layers)

    def run() -> None:
        image = ops.normalize_image(pixels.pixels, pixels.mean, pixels.std)
        features.copy_(encode(image.contiguous(memory_format=torch.channels_last)))

    return [("encoder", run)]


def _mix(steps: FrozenSteps, pixels: PixelBuffer, features: Tensor) -> Callable[[], object]:
    (layer,) = convolutions_of(steps.stages[0])
    weight = steps.weights(layer)[0].flatten(1).contiguous()  # [C, 3]
    return lambda: lift_into(pixels.pixels, pixels.mean, pixels.std, weight, features)


def _residual(
    steps: FrozenSteps,
    pixels: PixelBuffer,
    layers: Sequence[Layer],
    images: Sequence[Tensor],
    shared: Shared,
) -> list[Step]:
    first, *convolutions = convolutions_of(steps.stages[0])
    weight, bias = _with_bias(steps, first)
    features, hidden, other = images
    # The blocks' results alternate between two images, so that the last one is the feature map.
    count = len(layers) // 2
    images = [features, other] if count % 2 == 0 else [other, features]

    def stem() -> None:
        resnet_stem_into(pixels.pixels, pixels.mean, pixels.std, weight, bias, images[0])

    made: list[Step] = [("encoder stem", stem)]
    for index in range(count):
        block_input, block_output = images[index % 2], images[(index + 1) % 2]
        for part, (x, y, added) in enumerate(
            ((block_input, hidden, None), (hidden, block_output, block_input))
        ):
            layer = layers[2 * index + part]
            weight_, bias_ = _with_bias(steps, convolutions[2 * index + part])
            convolution = FrozenConvolution(layer, weight_, [Input(x)], shared)
            made.append((layer.name, _rectified(convolution, y, bias_, added)))
    return made


def _with_bias(steps: FrozenSteps, layer: Conv) -> tuple[Tensor, Tensor]:
    weight, bias = steps.weights(layer)
    assert bias is not None
    return weight, bias


def _rectified(
    convolution: FrozenConvolution, y: Tensor, bias: Tensor, added: Tensor | None
) -> Callable[[], object]:
    return lambda: convolution.run(y, slope=0.0, bias=bias, added=added)
