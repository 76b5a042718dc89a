"""Means of latents over images, and how much the images differ: their spread."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.model.comparison import pixel_mean
from pyramidflow.spec import ContrastRule

NEIGHBOURHOOD = 5
"""Side in pixels of the square that a pixel's variance is averaged over."""

PRIOR_IMAGES = 8
"""As many images does the channel's mean variance count for beside a pixel's own."""

PIXEL_FLOOR = 0.25
"""Least spread of a pixel, as a share of its channel's: a pixel that never changes has none."""

LEVEL_FLOOR = 0.1
"""Least spread of all, as a share of the level's: a channel may never change either."""

UNSEEN = 1e-3
"""Weight of a pixel that an image does not show: it counts only where no image shows the pixel."""


class Moments:
    """Sums of latents over images, and of their squares where a spread is wanted, in float64.

    Memory does not grow with the number of images: two templates, four with the squares, six where
    images do not show every pixel and light is taken off.

    Args:
        rule: whether there are squares, whether they are those of latents whose mean over pixels is
            taken off, and whether the sums go over the pixels, too.

    Attributes:
        count: of the images.
    """

    def __init__(self, rule: ContrastRule) -> None:
        self.count = 0
        self._rule = rule
        self._sums: tuple[list[Tensor], ...] = ([], [], [], [])

    def add(self, latents: Sequence[Tensor], seen: Tensor | None = None) -> None:
        """Count an image in.

        Args:
            latents: ``[1, C, h_d, w_d]``.
            seen: which pixels of the map the image shows, bool ``[h, w]``; ``None`` for all. All
                images of a sum have a mask, or none has.
        """
        self.count += 1
        for totals, values in zip(self._sums, self._powers(latents, seen), strict=True):
            if not totals:
                totals.extend(values)
                continue
            for total, value in zip(totals, values, strict=True):
                total += value

    def without(self, latents: Sequence[Tensor], seen: Tensor | None = None) -> "Moments":
        """These without an image that was counted in."""
        others = Moments(self._rule)
        others.count = self.count - 1
        powers = self._powers(latents, seen)
        others._sums = tuple(
            [a - z for a, z in zip(totals, values, strict=True)]
            for totals, values in zip(self._sums, powers, strict=True)
        )
        return others

    def tensors(self) -> dict[str, Tensor]:
        """All sums by name: those of two processes may be added up."""
        sums = {
            f"{power}/{level}": total
            for power, totals in enumerate(self._sums)
            for level, total in enumerate(totals)
        }
        return {"count": torch.tensor(self.count), **sums}

    @classmethod
    def of(cls, rule: ContrastRule, tensors: Mapping[str, Tensor]) -> "Moments":
        """These whose :meth:`tensors` are given."""
        found = cls(rule)
        found.count = int(tensors["count"])
        for power, totals in enumerate(found._sums):
            levels = sum(name.startswith(f"{power}/") for name in tensors)
            totals.extend(tensors[f"{power}/{level}"] for level in range(levels))
        return found

    def _powers(self, latents: Sequence[Tensor], seen: Tensor | None) -> tuple[list[Tensor], ...]:
        """Latents, squares, weights, and what the squares are of, where that is something else."""
        values = [z.double() for z in latents]
        centred: list[Tensor] = []
        if self._rule.spread != "none":
            is_lit = self._rule.light
            centred = [z - pixel_mean(z) for z in values] if is_lit else values
        squares = [z.square() for z in centred]
        if seen is None and self._rule.position == "pixel":
            return values, squares, [], []
        if seen is None:
            weights = [torch.ones_like(z[:, :1]) for z in values]
        else:
            weights = level_weights(seen, latents)
        powers = (values, squares, centred if self._rule.light else [])
        values, squares, centred = (
            [z * w for z, w in zip(power, weights, strict=False)] for power in powers
        )
        found = (values, squares, weights, centred)
        if self._rule.position == "pixel":
            return found
        return tuple([x.sum((2, 3), keepdim=True) for x in power] for power in found)

    def counts(self) -> list[Tensor]:
        """How many values each mean is of, levels ``[1, 1, h_d, w_d]`` in float64.

        So many images show each pixel; without positions ``[1, 1, 1, 1]``, over all pixels.
        """
        sums, _, weights, _ = self._sums
        return weights or [torch.full_like(total[:, :1], self.count) for total in sums]

    def mean(self) -> list[Tensor]:
        """Mean latents, levels ``[1, C, h_d, w_d]`` in float64, finest first.

        Without positions levels ``[1, C, 1, 1]``; the same goes for the variance.
        """
        return [total / n for total, n in zip(self._sums[0], self.counts(), strict=True)]

    def scatter(self) -> list[Tensor]:
        """Sums of the squared differences from the mean, in float64."""
        _, squares, _, centred = self._sums
        counts, means = self.counts(), self.mean()
        if centred:
            means = [total / n for total, n in zip(centred, counts, strict=True)]
        elif self._rule.light:
            means = [mean - pixel_mean(mean) for mean in means]
        return [
            (total - n * mean.square()).clamp_min(0)
            for total, mean, n in zip(squares, means, counts, strict=True)
        ]


def variances(groups: Sequence[Moments]) -> list[Tensor]:
    """Of each latent within groups of images, without bias, in float64; 0 of single images.

    ``s² = Σ_k Σ_i (z_i − z̄_k)² / (n − K)``, levels as :meth:`Moments.mean`'s.
    """
    scatters = zip(*(moments.scatter() for moments in groups), strict=True)
    return [
        torch.stack(level).sum(0) / (n - len(groups)).clamp_min(1)
        for level, n in zip(scatters, counts(groups), strict=True)
    ]


def counts(groups: Sequence[Moments]) -> list[Tensor]:
    """As :meth:`Moments.counts`, of all groups."""
    levels = zip(*(moments.counts() for moments in groups), strict=True)
    return [torch.stack(level).sum(0) for level in levels]


def level_weights(seen: Tensor, latents: Sequence[Tensor]) -> list[Tensor]:
    """Weights of the pixels of each level, which are seen where all of the finest below them are.

    Args:
        seen: bool ``[h, w]``.
        latents: levels ``[1, C, h_d, w_d]``; the finest may be padded.
    """
    height, width = latents[0].shape[-2:]
    ends = (0, width - seen.shape[1], 0, height - seen.shape[0])
    hidden = functional.pad((~seen).float()[None, None], ends, mode="replicate")
    pooled = (functional.max_pool2d(hidden, 1 << level) for level in range(len(latents)))
    return [(1 - x).double().clamp_min(UNSEEN).to(latents[0].device) for x in pooled]


def inverse_spread(groups: Sequence[Moments], rule: ContrastRule) -> tuple[Tensor, ...] | None:
    """``1/σ``, by which contrasts are multiplied.

    ``"channel"``: ``σ² = s̄²``, the mean over pixels of the variances ``s²``. ``"pixel"``:
    ``σ² = max((n·s̃² + k·s̄²) / (n + k), (PIXEL_FLOOR · s̄)²)`` with ``s̃²`` the mean of ``s²`` over
    5×5 pixels, ``n`` images and ``k = PRIOR_IMAGES``: a handful of images says little about a
    pixel. ``n`` is that of the images which show a pixel, and means over pixels are weighted by
    it. In both ``σ`` is at least ``LEVEL_FLOOR`` of its level's; where a whole level never
    changes, ``σ = 1``.

    Args:
        groups: of training latents that have a mean each; spreads are from their own.
        rule: says which.

    Returns:
        Levels ``[1, C, h_d, w_d]`` (pixel) or ``[1, C, 1, 1]`` (channel), float32, finest first;
        ``None`` where the rule asks for none.
    """
    if rule.spread == "none":
        return None
    found = []
    images = sum(moments.count for moments in groups)
    for variance, count in zip(variances(groups), counts(groups), strict=True):
        shown = count / images  # [1, 1, h_d, w_d]
        channel = (variance * shown).mean((2, 3), keepdim=True) / shown.mean()  # [1, C, 1, 1]
        spread = channel
        if rule.spread == "pixel":
            around = _around(variance * shown) / _around(shown)
            shrunk = (count * around + PRIOR_IMAGES * channel) / (count + PRIOR_IMAGES)
            spread = shrunk.maximum(PIXEL_FLOOR**2 * channel)
        spread = spread.clamp_min(LEVEL_FLOOR**2 * float(channel.mean()))
        unit = torch.ones_like(spread)
        found.append(torch.where(spread > 0, spread, unit).rsqrt().float())
    return tuple(found)


def _around(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2, count_include_pad=False)
