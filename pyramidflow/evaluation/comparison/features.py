"""Frozen features of one of the package's encoders, for the methods that compare features."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyramidflow.data import network_input
from pyramidflow.errors import InputError
from pyramidflow.model.encoder import Stages, stages_text
from pyramidflow.model.encoders import encoder_of, settings_of_encoder
from pyramidflow.model.frozen import inner
from pyramidflow.spec import Preprocessing

SEVERAL_SCALES: dict[str, Stages] = {"efficientnet-lite0": (2, 3, 5)}
"""Stages at a quarter, an eighth and a sixteenth of the image, as the methods' papers take them of
a ResNet; of other encoders those that they choose themselves."""


class Features:
    """An encoder's feature maps, side by side at the resolution of the finest.

    Args:
        encoder: its name.
        stages: of it; empty takes :data:`SEVERAL_SCALES`, or the encoder's own choice.
        weights: file with its weights; ``None`` takes the encoder's own source.
        size: height and width of the images.
        device: to compute on.

    Raises:
        InputError: the encoder is the lift, or its weights cannot be had.
    """

    def __init__(
        self,
        encoder: str,
        stages: Stages,
        weights: Path | None,
        size: tuple[int, int],
        device: torch.device,
    ) -> None:
        settings = settings_of_encoder(encoder, stages or SEVERAL_SCALES.get(encoder, ()))
        described = encoder_of(encoder)
        if "channels" not in settings:
            raise InputError(
                f"encoder is {encoder}: SPADE, PaDiM and PatchCore compare features of a trained "
                "network; "
                "name another encoder, or leave them out of --methods."
            )
        chosen = stages or SEVERAL_SCALES.get(encoder, described.default_stages)
        self.channels: int = settings["channels"]
        self.name = f"{encoder} stages {stages_text(chosen)}" if chosen else encoder
        self.device = device
        module = described.build(self.channels, chosen)
        described.load_weights(module, weights)
        self.network = inner(module).to(device).eval()
        self._preprocessing = Preprocessing(size, mean=settings["mean"], std=settings["std"])

    @torch.no_grad()
    def __call__(self, images: Sequence[npt.NDArray[np.generic]]) -> Tensor:
        """Features of resized images, ``[B, C, h, w]``."""
        found: Tensor = self.network(self.input_of(images))
        return found

    def input_of(self, images: Sequence[npt.NDArray[np.generic]]) -> Tensor:
        """Images as the encoder takes them, ``[B, 3, H, W]``."""
        return network_input(images, self._preprocessing, self.device)


def rows_of(features: Tensor) -> Tensor:
    """Of one image ``[1, C, h, w]``, a row for each place: ``[h·w, C]``."""
    return features[0].flatten(1).T.contiguous()
