"""A codebook of positions of training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyramidflow.model.codebook import Codebook, features_of
from pyramidflow.model.comparison import without_mean
from pyramidflow.spec import ContrastRule
from pyramidflow.training.coreset import coreset

POOL = 4
"""Positions that are kept of the images for each entry that is chosen from them all."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """What is kept of an image.

    Attributes:
        features: of the positions that were kept, ``[n, F]``.
        entries: its share of the codebook, at most ``n``.
        count: of all its positions.
        sums: of the features over them, ``[F]`` in float64.
        squares: of the features' squares likewise.
    """

    features: Tensor
    entries: int
    count: int
    sums: Tensor
    squares: Tensor


class Draws:
    """Positions of images, as many of each, and what is chosen from them.

    A codebook's entries are those that lie all over what the images show, see :mod:`.coreset`: most
    positions of most parts are alike, and entries drawn at random miss what is seldom. Of each
    image four times its share is kept in that way, and of all that the entries; memory is four
    times the codebook's own. The same images in the same order give the same entries.

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
        positions = len(features)
        entries = self._share(index, positions, 1)
        kept = _all_over(features, self._share(index, positions, POOL))
        wide = features.double()
        self._drawn[index] = Drawn(kept, entries, positions, wide.sum(0), wide.square().sum(0))

    def _share(self, index: int, positions: int, times: int) -> int:
        """Of an image, when ``times`` as many are kept as there will be entries."""
        # Whatever rounding loses of one image, the next ones make up for.
        each = min(self._rule.codebook * positions, self._rule.codebook_entries / self._images)
        each = min(times * each, positions)
        return max(1, int((index + 1) * each) - int(index * each))

    def without(self, index: int) -> "Draws":
        """These without an image that was drawn from."""
        return self._of({key: drawn for key, drawn in self._drawn.items() if key != index})

    def tensors(self) -> dict[str, Tensor]:
        """All that was drawn, by name: processes that drew from different images have different."""
        found = {}
        for index, drawn in self._drawn.items():
            found[f"{index}/features"] = drawn.features
            found[f"{index}/entries"] = torch.tensor(drawn.entries)
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
                index: Drawn(
                    x["features"], int(x["entries"]), int(x["count"]), x["sums"], x["squares"]
                )
                for index, x in images.items()
            }
        )

    def _of(self, drawn: dict[int, Drawn]) -> "Draws":
        others = Draws(self._rule, self.level, self._images)
        others._drawn = drawn
        return others

    def codebook(self) -> Codebook:
        """The codebook of the images that are there.

        All features are divided by one spread, the root of their mean variance: what moves much on
        good images says more than what hardly moves, and distances are near 1 everywhere.
        """
        drawn = [self._drawn[index] for index in sorted(self._drawn)]
        count = sum(d.count for d in drawn)
        mean = torch.stack([d.sums for d in drawn]).sum(0) / count
        squares = torch.stack([d.squares for d in drawn]).sum(0) / count
        variance = float((squares - mean.square()).clamp_min(0).mean())
        inverse_spread = torch.full_like(mean, variance**-0.5 if variance > 0 else 1.0)
        features = torch.cat([d.features for d in drawn]).double()
        entries = ((features - mean) * inverse_spread).float()
        wanted = min(sum(d.entries for d in drawn), self._rule.codebook_entries)
        return Codebook(
            _all_over(entries, wanted),
            mean.float(),
            inverse_spread.float(),
            self.level,
            self._rule.light,
        )


def _all_over(x: Tensor, count: int) -> Tensor:
    """So many of the rows ``[N, F]``, those that lie all over the others, in their order."""
    return x if count >= len(x) else x[coreset(x, count).sort().values.to(x.device)]
