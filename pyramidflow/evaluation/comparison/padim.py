"""PaDiM, as anomalib has it: a Gaussian of the features at each place.

Source: Defard, Setkov, Loesch and Audigier, "PaDiM", 2021; anomalib's ``PadimModel``.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyramidflow.data import Pixels, Reading, resize_image
from pyramidflow.detector.findings import Map
from pyramidflow.errors import InputError

if TYPE_CHECKING:
    from pyramidflow.evaluation.comparison.features import Features

MOST_FEATURES = 100
"""Channels that are drawn at random, as the paper has it for a ResNet18."""


class Padim:
    """Map: Mahalanobis distance of a place's features to those of the good images there, smoothed.

    Fitting, distance and smoothing are anomalib's; the features are the encoder's, so that nothing
    is downloaded and SPADE sees the same.

    Args:
        features: of the images.
        reading: likewise.
        seed: of the channels that are drawn.

    Raises:
        InputError: anomalib is not installed.
    """

    name = "PaDiM"

    def __init__(self, features: "Features", reading: Reading, seed: int) -> None:
        count = min(MOST_FEATURES, features.channels)
        height, width = reading.size
        self.settings = f"{height}×{width}, {features.name}, {count} channels, anomalib"
        self._features, self._reading = features, reading
        # Its own backbone is made without weights, and replaced.
        model = padim_model()(
            backbone="resnet18", layers=["layer1"], pre_trained=False, n_features=1
        )
        model.feature_extractor = _OneMap(features.network)
        model.layers = [_OneMap.KEY]
        order = torch.randperm(features.channels, generator=torch.Generator().manual_seed(seed))
        model.idx = order[:count].sort().values
        self._model = model.to(features.device)

    @torch.no_grad()
    def fit(self, images: Sequence[Path]) -> None:
        """See :meth:`Method.fit`."""
        if len(images) < 2:
            raise InputError(f"PaDiM is given {len(images)} images: a spread needs at least 2.")
        known = self._reading.images(images)
        self._model.train()
        for batch in known.in_turn([i] for i in range(len(known))):
            self._model(self._features.input_of(batch))
        self._model.fit()
        self._model.eval()

    @torch.no_grad()
    def maps(self, images: Iterable[Pixels]) -> Iterator[Map]:
        """See :meth:`Method.maps`."""
        for image in images:
            resized = resize_image(image, self._reading.size)
            found = self._model(self._features.input_of([resized])).anomaly_map  # [1, 1, H, W]
            anomaly_map: Map = found[0, 0].cpu().numpy()
            yield anomaly_map


class _OneMap(nn.Module):
    """An encoder in the form that anomalib's models ask for: feature maps by name."""

    KEY = "features"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {self.KEY: self.network(image)}


def padim_model() -> Any:
    """The class of PaDiM's network in anomalib.

    Raises:
        InputError: anomalib is not installed.
    """
    try:
        # It imports all its models, and with them what other packages have put away.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            from anomalib.models.image.padim.torch_model import PadimModel
    except ModuleNotFoundError as error:
        raise InputError(
            f"PaDiM comes with the package anomalib, which is not installed ({error.name} is "
            "missing): run pip install 'pyramidflow[compare]', or leave it out with --methods "
            "ae-ssim,spade,patchcore."
        ) from error
    return PadimModel
