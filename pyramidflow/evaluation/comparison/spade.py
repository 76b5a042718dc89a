"""SPADE: each pixel's features beside those of the training images that are most alike.

Source: Cohen and Hoshen, "Sub-Image Anomaly Detection with Deep Pyramid Correspondences", 2020:
section 3 for the nearest images, the pixels and the several scales; ``K = 50``, one nearest pixel
and a Gaussian of 4 pixels as in its implementation.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from pyramidflow.data import Pixels, Reading, resize_image
from pyramidflow.detector.findings import Map, resize_map
from pyramidflow.evaluation.comparison.features import Features, rows_of

NEIGHBOURS = 50
SIGMA = 4.0


class Spade:
    """Map: ``d(p) = min_q |f(p) − f_k(q)|²`` over pixels ``q`` of the ``K`` nearest images ``k``.

    The nearest images are those whose mean features over all pixels lie nearest. The paper takes a
    WideResNet50's last features for them, which the encoders here do not have.

    Args:
        features: of the images.
        reading: likewise.
        neighbours: ``K``; fewer where there are fewer images.
    """

    name = "SPADE"

    def __init__(self, features: Features, reading: Reading, neighbours: int = NEIGHBOURS) -> None:
        height, width = reading.size
        self.settings = f"{height}×{width}, {features.name}, K = {neighbours}"
        self._features, self._reading, self._neighbours = features, reading, neighbours
        self._gallery: list[Tensor] = []

    def fit(self, images: Sequence[Path]) -> None:
        """See :meth:`Method.fit`."""
        known = self._reading.images(images)
        # Each [P, C], a row for each pixel.
        self._gallery = [
            rows_of(self._features(batch))
            for batch in known.in_turn([i] for i in range(len(known)))
        ]
        self._means = torch.stack([rows.mean(0) for rows in self._gallery])  # [N, C]

    @torch.no_grad()
    def maps(self, images: Iterable[Pixels]) -> Iterator[Map]:
        """See :meth:`Method.maps`."""
        for image in images:
            features = self._features([resize_image(image, self._reading.size)])
            distances = self._distances(rows_of(features)).reshape(features.shape[-2:])
            found = resize_map(distances.cpu().numpy(), self._reading.size)
            smooth: Map = gaussian_filter(found, SIGMA)
            yield smooth

    def _distances(self, rows: Tensor) -> Tensor:
        """Squared distance of each pixel to the nearest of the nearest images, ``[P]``."""
        count = min(self._neighbours, len(self._gallery))
        apart = torch.linalg.vector_norm(self._means - rows.mean(0), dim=1)  # [N]
        nearest = apart.topk(count, largest=False).indices.tolist()
        best = torch.full((len(rows),), torch.inf, device=rows.device)
        for index in nearest:
            other = self._gallery[index]
            # |f − g|² = |f|² + |g|² − 2 f·g; |f|² is the same for every g and joins at the end.
            partial = torch.addmm((other**2).sum(1)[None], rows, other.T, alpha=-2)  # [P, P]
            best = torch.minimum(best, partial.amin(1))
        return (best + (rows**2).sum(1)).clamp_min(0)
