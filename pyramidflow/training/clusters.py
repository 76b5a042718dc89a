"""Groups of training images that look alike."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyramidflow.model.comparison import without_mean
from pyramidflow.spec import ContrastRule
from pyramidflow.training.parallel import Parallel

SKETCH = 4096
"""Numbers that stand for an image's latents: distances of images are right within some 2%."""

STARTS = 10
"""Of k-means; the groups with the smallest distances are taken."""

ROUNDS = 50
"""Of k-means, from each start."""


class Sketches:
    """Short vectors of images, about as far from one another as the images' latents.

    ``distance² = Σ_d mean over channels and pixels of (z_d − z'_d)²``: levels count alike, as in
    the anomaly map. Latents are multiplied by random signs and summed up to :data:`SKETCH` numbers,
    so memory grows by 32 KB for each image, however large it is.

    Args:
        rule: whether each channel's mean over the image is taken off before.

    Source: Charikar, Chen, Farach-Colton, "Finding frequent items in data streams" (2002): the
    count sketch, here with bins in turn.
    """

    def __init__(self, rule: ContrastRule) -> None:
        self._rule = rule
        self._signs: list[Tensor] = []
        self._sketches: dict[str, Tensor] = {}

    def add(self, index: int, latents: Sequence[Tensor]) -> None:
        """Add an image's latents ``[1, C, h_d, w_d]``."""
        if self._rule.light:
            latents = without_mean(latents)
        if not self._signs:
            generator = torch.Generator().manual_seed(0)
            for z in latents:
                signs = torch.randint(0, 2, (z.numel(),), generator=generator, dtype=torch.int8)
                self._signs.append((2 * signs - 1).to(z.device))
        total = torch.zeros(SKETCH, dtype=torch.float64)
        for z, signs in zip(latents, self._signs, strict=True):
            values = z.flatten() * signs / z.numel() ** 0.5
            ends = torch.nn.functional.pad(values, (0, -len(values) % SKETCH))
            total += ends.view(-1, SKETCH).sum(0, dtype=torch.float64).cpu()
        self._sketches[str(index)] = total

    def united(self, parallel: Parallel) -> "Sketches":
        """Of the images of all processes, of which each has added its own."""
        found = Sketches(self._rule)
        found._sketches = parallel.united(self._sketches)
        return found

    def groups(self, count: int) -> list[int]:
        """Number of the group of each image, by k-means; the same images give the same groups.

        Args:
            count: of the groups; where fewer images or fewer that differ are there, there are
                fewer.
        """
        from scipy.cluster.vq import kmeans2

        images = [self._sketches[name] for name in sorted(self._sketches, key=int)]
        points = torch.stack(images).numpy()  # [N, SKETCH]
        count = min(count, len(np.unique(points, axis=0)))
        best, least = np.zeros(len(points), dtype=np.int64), np.inf
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a group that lost its last image
            for start in range(STARTS if count > 1 else 0):
                centres, labels = kmeans2(
                    points, count, iter=ROUNDS, minit="++", rng=np.random.default_rng(start)
                )
                distance = float(np.square(points - centres[labels]).sum())
                if distance < least:
                    best, least = labels, distance
        _, numbers = np.unique(best, return_inverse=True)  # without those that are empty
        return [int(number) for number in numbers]
