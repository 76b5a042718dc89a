"""One inspection of a tiny network on a device's runtime, beside the same in float64."""

from copy import deepcopy

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.model import Contrast, PyramidFlow
from pyramidflow.runtime import TrainedNetwork, runtime_on

SIZE = (25, 38)
"""Of the images: odd and even, and no multiple of what the pyramid needs."""

BATCH = 3
"""Images: two batches of different sizes on a GPU."""

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)

TOLERANCES = {"cpu": 1e-5, "cuda": 1e-2}
"""Relative error allowed by device: float32, and half precision."""


def inspection_error(device: torch.device) -> float:
    """Relative error of the anomaly maps that a device's own runtime gives.

    ``‖map − oracle‖ / ‖oracle‖``, the oracle in float64 on the reference operations; infinite where
    a map is not finite.

    Args:
        device: ``cpu``, or a CUDA device.

    Raises:
        InputError: the device cannot be used.
    """
    trained, images = _subject()
    expected = _oracle(trained, images)
    found = _maps(trained, images, device).cpu().double()
    if found.shape != expected.shape or not bool(found.isfinite().all()):
        return torch.inf
    return float((found - expected).norm() / expected.norm())


def _maps(trained: TrainedNetwork, images: Tensor, device: torch.device) -> Tensor:
    runtime = runtime_on(device, trained, SIZE)
    # The next call may overwrite a map.
    parts = torch.split(images, runtime.at_once)
    return torch.cat([runtime.inspect(part).clone() for part in parts])


def _subject() -> tuple[TrainedNetwork, Tensor]:
    with torch.random.fork_rng(devices=[]), ops.use_backend("reference"):
        torch.manual_seed(0)
        network = PyramidFlow(channels=4, levels=2, stacks=1, kernel_size=3)
        for block in network.flow:
            # As built they are zero, and the blocks change nothing.
            torch.nn.init.normal_(block.affine_params.conv2.weight, std=0.1)
        with torch.no_grad():
            template = network(torch.randn(2, 3, *SIZE))  # gives the blocks their running means
        images = torch.randint(0, 256, (BATCH, *SIZE, 3), dtype=torch.uint8)
    contrast = Contrast([z[:1] for z in template])
    return TrainedNetwork(network.eval(), contrast, MEAN, STD), images


def _oracle(trained: TrainedNetwork, images: Tensor) -> Tensor:
    network = deepcopy(trained.network).double()
    mean, std = torch.tensor([MEAN, STD], dtype=torch.float64)
    normalised = ((images.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad(), ops.use_backend("reference"):
        return network.anomaly_map(
            normalised, trained.comparison.to(normalised.device, torch.float64)
        )
