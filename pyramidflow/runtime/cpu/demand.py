"""What a runtime of a size has to compute and to keep; nothing is allocated."""

from math import prod

import torch

from pyramidflow.model import PyramidFlow
from pyramidflow.ops.convolution.methods import Convolution
from pyramidflow.runtime.cpu.buffers import Buffers, PixelBuffer
from pyramidflow.runtime.cpu.encoder import encoder_bytes, encoder_shapes
from pyramidflow.runtime.trained_network import TrainedNetwork


def demand(
    trained: TrainedNetwork, size: tuple[int, int, int], *, is_part: bool = False
) -> tuple[list[tuple[str, Convolution]], int]:
    """What a runtime of a size has to compute and to keep; nothing is allocated.

    Args:
        trained: the network, with any encoder.
        size: batch, height and width of the runtime's images.
        is_part: whether they are tiles.

    Returns:
        Name and shape of each convolution, and bytes for everything else: what :func:`make_plan`
        takes.
    """
    network = trained.network
    batch, height, width = size
    features = network.feature_size(height, width)
    padded = network.pyramid.padded_size(features)
    shapes = encoder_shapes(network, (batch, *features)) + flow_shapes(network, batch, padded)
    with torch.device("meta"):
        buffers = Buffers(network, batch, features)
    total = buffers.bytes() + PixelBuffer.bytes_of(size) + encoder_bytes(network, size)
    if is_part:
        total += 4 * prod(padded)  # the running mean of a block
    else:
        latents = network.latent_shapes(batch, features)
        total += 4 * trained.comparison.working_floats(latents)
    return shapes, total


def flow_shapes(
    network: PyramidFlow, batch: int, size: tuple[int, int]
) -> list[tuple[str, Convolution]]:
    """Name and shape of the two convolutions of each coupling block.

    Args:
        network: with any encoder.
        batch: ``B``.
        size: height and width of the finest level.
    """
    channels, kernel = network.architecture.channels, network.architecture.kernel_size
    shapes = []
    for index, block in enumerate(network.flow):
        topology = block.topology
        stack = index // network.architecture.levels + 1
        first, second = (
            Convolution(batch, inputs, 2 * channels, size[0] >> at, size[1] >> at, kernel, resample)
            for inputs, at, resample in (
                # An up-sampled condition is read as it lies, at its own level.
                (
                    len(topology.reads) * channels,
                    topology.at + (topology.condition_resample == "up"),
                    topology.condition_resample,
                ),
                (2 * channels, topology.at, topology.params_resample),
            )
        )
        shapes.append((f"stack {stack}, {topology}, first", first))
        shapes.append((f"stack {stack}, {topology}, second", second))
    return shapes
