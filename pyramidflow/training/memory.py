"""What a training keeps for the gradients: every activation, or so little that all fits."""

from typing import Literal

import torch

from pyramidflow import machine
from pyramidflow.model import PyramidFlow
from pyramidflow.training.loss import Network
from pyramidflow.training.reversible import ReversibleNetwork

Mode = Literal["plain", "reversible"]

SHARE = 0.5
"""Of the free memory: what activations may take where nothing else was asked for."""


def network_of(model: PyramidFlow, mode: Mode) -> Network:
    """The network as a training step sees it."""
    return ReversibleNetwork(model) if mode == "reversible" else model


def fitting_mode(activations: int, device: torch.device) -> Mode:
    """Plain where the activations take at most :data:`SHARE` of what is free, else reversible.

    Args:
        activations: see :func:`activation_bytes`.
        device: that trains.
    """
    free = free_bytes(device)
    return "plain" if free is None or activations <= SHARE * free else "reversible"


def free_bytes(device: torch.device) -> int | None:
    """Bytes that a training can still take on a device; ``None`` where nobody tells."""
    if device.type == "cpu":
        return machine.free_memory()
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    return None


def activation_bytes(model: PyramidFlow, size: tuple[int, int], batch: int) -> int:
    """Bytes that plain gradients of a step keep in the flow.

    For each block, at the pixels of its parameters: the condition where it is put together, the
    hidden layer before and after its activation, the parameters, and their mean where every pixel
    has its own; and the level that it transforms.

    Args:
        model: the network.
        size: ``(h, w)`` of the finest level.
        batch: images in a step.
    """
    values = 0
    channels = model.architecture.channels
    means = int(model.architecture.volume_norm == "cvn")
    for block in model.flow:
        topology, reads = block.topology, len(block.topology.reads)
        width = 6 * channels + means + (reads * channels if reads > 1 else 0)
        values += _pixels(size, topology.at) * width + _pixels(size, topology.writes) * channels
    return values * batch * next(model.parameters()).element_size()


def _pixels(size: tuple[int, int], level: int) -> int:
    return (size[0] >> level) * (size[1] >> level)
