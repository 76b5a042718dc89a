"""A codebook drawn from the positions of training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyramidflow.model.codebook import Codebook, features_of
from pyramidflow.model.comparison import without_mean
from pyramidflow.spec import ContrastRule

FLOOR = 0.1
"""Least spread of a feature, as a share of the features' typical one: one may never change."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is kept of an image.

    Attributes:
        features: of its share of the codebook, ``[n, F]``.
        count: of all its positions.
        sums: of the features over them, ``[F]`` in float64.
        squares: of the features' squares likewise.
    """

    features: Tensor
    count: int
    sums: Tensor
    squares: Tensor


class Draws:
    """Random positions of images, as many of each and one at least; memory is the codebook's own.

    The same images in the same order give the same positions.

    Args:
        rule: the share of the positions, the most that are drawn, and whether means are taken off.
        level: of the pyramid whose positions they are.
        images: how many there will be.

    Attributes:
        level: of the pyramid.
    """

    def __init__(self, rule: ContrastRule, level: int, images: int) -> None:
        self.level = level
        self._rule, self._images = rule, images
        self._drawn: dict[int, Drawn] = {}

    def add(self, index: int, latents: Sequence[Tensor], seen: Tensor | None = None) -> None:
        """Draw from an image.

        Args:
            index: of the image.
            latents: ``[1, C, h_d, w_d]``.
            seen: which positions the image shows, bool of as many elements; ``None`` for all. One
                that shows none counts as a whole.
        """
        if self._rule.light:
            latents = without_mean(latents)
        features = features_of(latents, self.level)[0]  # [h·w, F]
        if seen is not None and bool(seen.any()):
            features = features[seen.flatten().to(features.device)]
        chosen = torch.from_numpy(self._chosen(index, len(features))).to(features.device)
        wide = features.double()
        self._drawn[index] = Drawn(
            features[chosen], len(features), wide.sum(0), wide.square().sum(0)
        )

    def _chosen(self, index: int, positions: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        # Whatever rounding loses of one image, the next ones make up for.
        each = min(self._rule.codebook * positions, self._rule.codebook_entries / self._images)
        count = max(1, int((index + 1) * each) - int(index * each))
        order = np.random.default_rng((0, index)).permutation(positions)
        return np.sort(order[:count])

    def without(self, index: int) -> "Draws":
        """These without an image that was drawn from."""
        return self._of({key: drawn for key, drawn in self._drawn.items() if key != index})

    def tensors(self) -> dict[str, Tensor]:
        """All that was drawn, by name: processes that drew from different images have different."""
        found = {}
        for index, drawn in self._drawn.items():
            found[f"{index}/features"] = drawn.features
            found[f"{index}/count"] = torch.tensor(drawn.count)
            found[f"{index}/sums"] = drawn.sums
            found[f"{index}/squares"] = drawn.squares
        return found

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Draws":
        """Such whose :meth:`tensors` are given."""
        images: dict[int, dict[str, Tensor]] = {}
        for name, x in tensors.items():
            index, _, part = name.partition("/")
            images.setdefault(int(index), {})[part] = x
        return self._of(
            {
                index: Drawn(x["features"], int(x["count"]), x["sums"], x["squares"])
                for index, x in images.items()
            }
        )

    def _of(self, drawn: dict[int, Drawn]) -> "Draws":
        others = Draws(self._rule, self.level, self._images)
        others._drawn = drawn
        return others

    def codebook(self) -> Codebook:
        """The codebook of the images that are there."""
        drawn = [self._drawn[index] for index in sorted(self._drawn)]
        count = sum(d.count for d in drawn)
        mean = torch.stack([d.sums for d in drawn]).sum(0) / count
        squares = torch.stack([d.squares for d in drawn]).sum(0) / count
        variance = (squares - mean.square()).clamp_min(0)
        variance = variance.clamp_min(FLOOR**2 * float(variance.mean()))
        inverse_spread = torch.where(variance > 0, variance, torch.ones_like(variance)).rsqrt()
        features = torch.cat([d.features for d in drawn]).double()
        entries = (features - mean) * inverse_spread
        return Codebook(
            entries.float(),
            mean.float(),
            inverse_spread.float(),
            self.level,
            self._rule.light,
        )
