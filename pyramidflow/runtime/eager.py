"""Inspection by the network as it is, on whichever backend the operations have."""

from typing import Any

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.runtime.inspection_settings import Precision
from pyramidflow.runtime.trained_network import TrainedNetwork


class EagerPlan:
    """There is nothing to choose."""

    def explain(self) -> str:
        """One sentence."""
        return "the network as it is, its operations one after the other"


class EagerRuntime:
    """Anomaly maps of camera images by a network whose operations run one after the other.

    Where no runtime fits the operations' backend: without the compiled kernels, or where a backend
    is asked for by name.

    Args:
        trained: the network, on the device.
        size: height and width of the images in pixels.
        device: where the network is.
    """

    precision: Precision = "float32"

    plan = EagerPlan()

    def __init__(
        self, trained: TrainedNetwork, size: tuple[int, int], device: torch.device
    ) -> None:
        self.size = size
        self.at_once = 1 if device.type == "cpu" else 8
        self._trained = trained
        self._device = device
        self._mean, self._std = torch.tensor([trained.mean, trained.std], device=device)

    @torch.inference_mode()
    def inspect(self, images: Tensor) -> Tensor:
        """``[B, H, W, 3]`` camera pixels, uint8 or uint16, to ``[B, h, w]`` in float32."""
        network: Any = self._trained.network
        pixels = ops.normalize_image(images.to(self._device), self._mean, self._std)
        maps: Tensor = network.anomaly_map(pixels, self._trained.comparison)
        return maps.float()
