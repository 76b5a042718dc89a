"""PatchCore: each place's features beside a few that lie all over those of the good images.

Source: Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022: section 3.1
for the neighbourhood of 3×3, section 3.2 for the coreset of 10% in a random projection, and the
Gaussian of 4 pixels of its implementation. The score of an image is its map's maximum here, as for
every method, without the re-weighting of section 3.3.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from pyramidflow import ops
from pyramidflow.data import Pixels, Reading, resize_image
from pyramidflow.detector.findings import Map, resize_map
from pyramidflow.evaluation.comparison.features import Features, rows_of
from pyramidflow.training.coreset import coreset

SHARE = 0.1
"""Of the places of good images that the memory keeps."""

NEIGHBOURHOOD = 3
REDUCTION = 2
"""Pixels of the finest features for each place: places are an eighth of the image, as in the paper,
where these are a quarter of it."""

SIGMA = 4.0


class PatchCore:
    """Map: ``d(p) = min_n |f(p) − m_n| / √C`` over the memory ``m`` of features, smoothed.

    Args:
        features: of the images.
        reading: likewise.
        share: of the good images' places that the memory keeps.
    """

    name = "PatchCore"

    def __init__(self, features: Features, reading: Reading, share: float = SHARE) -> None:
        height, width = reading.size
        self.settings = f"{height}×{width}, {features.name}, memory of {share:.0%}"
        self._features, self._reading, self._share = features, reading, share

    @torch.no_grad()
    def fit(self, images: Sequence[Path]) -> None:
        """See :meth:`Method.fit`."""
        known = self._reading.images(images)
        batches = known.in_turn([i] for i in range(len(known)))
        places = torch.cat([rows_of(_places(self._features(batch))) for batch in batches])  # [N, C]
        kept = coreset(places, max(1, round(self._share * len(places))))
        self._search = ops.NearestSearch(places[kept.to(places.device)])

    @torch.no_grad()
    def maps(self, images: Iterable[Pixels]) -> Iterator[Map]:
        """See :meth:`Method.maps`."""
        for image in images:
            places = _places(self._features([resize_image(image, self._reading.size)]))
            distances = self._search.distance(rows_of(places)).reshape(places.shape[-2:])
            found = resize_map(distances.cpu().numpy(), self._reading.size)
            smooth: Map = gaussian_filter(found, SIGMA)
            yield smooth


def _places(features: Tensor) -> Tensor:
    """Features ``[1, C, h, w]`` of every second place, with what lies around it."""
    coarse = functional.avg_pool2d(features, REDUCTION, ceil_mode=True)
    return functional.avg_pool2d(
        coarse, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False
    )
