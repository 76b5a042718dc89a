"""What the latents of the training images have in common."""

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.model import Codebook, Comparison, PyramidFlow
from pyramidflow.model.codebook import level_of
from pyramidflow.model.comparison import pixel_mean
from pyramidflow.model.normal import comparison_of
from pyramidflow.spec import ContrastRule
from pyramidflow.training.codebook import Draws

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

LEAST_IMAGES = 2
"""That template and spread are taken from, whatever share may be bad."""


class Moments:
    """Sums of latents over images, and of their squares where a spread is wanted, in float64.

    Memory does not grow with the number of images: two templates, four with the squares, six where
    images do not show every pixel and light is taken off.

    Args:
        rule: whether there are squares, and whether they are those of latents whose mean over
            pixels is taken off.

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

    def _powers(self, latents: Sequence[Tensor], seen: Tensor | None) -> tuple[list[Tensor], ...]:
        """Latents, squares, weights, and what the squares are of, where that is something else."""
        values = [z.double() for z in latents]
        centred: list[Tensor] = []
        if self._rule.spread != "none":
            is_lit = self._rule.light
            centred = [z - pixel_mean(z) for z in values] if is_lit else values
        squares = [z.square() for z in centred]
        if seen is None:
            return values, squares, [], []
        weights = _level_weights(seen, latents)
        powers = (values, squares, centred if self._rule.light else [])
        values, squares, centred = (
            [z * w for z, w in zip(power, weights, strict=False)] for power in powers
        )
        return values, squares, weights, centred

    def counts(self) -> list[Tensor]:
        """How many images show each pixel, levels ``[1, 1, h_d, w_d]`` in float64."""
        sums, _, weights, _ = self._sums
        return weights or [torch.full_like(total[:, :1], self.count) for total in sums]

    def mean(self) -> list[Tensor]:
        """Mean latents, levels ``[1, C, h_d, w_d]`` in float64, finest first."""
        return [total / n for total, n in zip(self._sums[0], self.counts(), strict=True)]

    def variance(self) -> list[Tensor]:
        """Of each latent over the images, without bias, in float64; 0 of a single image."""
        _, squares, _, centred = self._sums
        counts, means = self.counts(), self.mean()
        if centred:
            means = [total / n for total, n in zip(centred, counts, strict=True)]
        elif self._rule.light:
            means = [mean - pixel_mean(mean) for mean in means]
        return [
            ((total - n * mean.square()) / (n - 1).clamp_min(1)).clamp_min(0)
            for total, mean, n in zip(squares, means, counts, strict=True)
        ]


def _level_weights(seen: Tensor, latents: Sequence[Tensor]) -> list[Tensor]:
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


def inverse_spread(moments: Moments, rule: ContrastRule) -> tuple[Tensor, ...] | None:
    """``1/σ``, by which contrasts are multiplied.

    ``"channel"``: ``σ² = s̄²``, the mean over pixels of the variances ``s²``. ``"pixel"``:
    ``σ² = max((n·s̃² + k·s̄²) / (n + k), (PIXEL_FLOOR · s̄)²)`` with ``s̃²`` the mean of ``s²`` over
    5×5 pixels, ``n`` images and ``k = PRIOR_IMAGES``: a handful of images says little about a
    pixel. ``n`` is that of the images which show a pixel, and means over pixels are weighted by
    it. In both ``σ`` is at least ``LEVEL_FLOOR`` of its level's; where a whole level never
    changes, ``σ = 1``.

    Args:
        moments: of the training latents.
        rule: says which.

    Returns:
        Levels ``[1, C, h_d, w_d]`` (pixel) or ``[1, C, 1, 1]`` (channel), float32, finest first;
        ``None`` where the rule asks for none.
    """
    if rule.spread == "none":
        return None
    found = []
    for variance, count in zip(moments.variance(), moments.counts(), strict=True):
        shown = count / moments.count  # [1, 1, h_d, w_d]
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


@dataclass(frozen=True)
class Suspect:
    """A training image that is left out of template and spread.

    Attributes:
        index: of the image.
        score: against the others: maximum of its anomaly map.
    """

    index: int
    score: float


@dataclass(frozen=True, eq=False)
class Normal:
    """What good parts look like to a network.

    Attributes:
        template: mean latents, levels ``[1, C, h_d, w_d]``, finest first.
        inverse_spread: see :func:`inverse_spread`.
        codebook: ``None`` where the rule asks for none.
        suspects: the images that were left out, worst first.
    """

    template: tuple[Tensor, ...]
    inverse_spread: tuple[Tensor, ...] | None
    codebook: Codebook | None = None
    suspects: tuple[Suspect, ...] = ()


class Gathered:
    """Of the training images what a rule asks for.

    Args:
        model: whose latents they are.
        rule: what is compared.
        images: how many there will be.
        has_template: ``False`` compares with zero (ablation II).
    """

    def __init__(
        self, model: PyramidFlow, rule: ContrastRule, images: int, has_template: bool
    ) -> None:
        architecture = model.architecture
        self._rule, self._has_template = rule, has_template
        self._pyramid_difference = architecture.pyramid_difference
        self._moments = Moments(rule)
        self._draws: Draws | None = None
        if rule.codebook > 0:
            level = level_of(architecture.stride, architecture.levels)
            self._draws = Draws(rule, level, images)

    def add(self, index: int, latents: Sequence[Tensor], seen: Tensor | None = None) -> None:
        """Count an image in, see :meth:`Moments.add`."""
        self._moments.add(latents, seen)
        if self._draws is not None:
            at = self._draws.level
            shown = None if seen is None else _level_weights(seen, latents)[at] > UNSEEN
            self._draws.add(index, latents, shown)

    def without(
        self, index: int, latents: Sequence[Tensor], seen: Tensor | None = None
    ) -> "Gathered":
        """These without an image that was counted in."""
        others = copy(self)
        others._moments = self._moments.without(latents, seen)
        others._draws = None if self._draws is None else self._draws.without(index)
        return others

    def normal(self) -> Normal:
        """What the images have in common."""
        means = [mean.float() for mean in self._moments.mean()]
        if not self._has_template:
            means = [torch.zeros_like(mean) for mean in means]
        spread = inverse_spread(self._moments, self._rule)
        codebook = None if self._draws is None else self._draws.codebook()
        return Normal(tuple(means), spread, codebook)

    def comparison(self) -> Comparison:
        """With what the images have in common."""
        normal = self.normal()
        return comparison_of(
            self._rule,
            normal.template,
            normal.inverse_spread,
            normal.codebook,
            pyramid_difference=self._pyramid_difference,
        )


def passes(rule: ContrastRule) -> int:
    """How often :func:`normal_of` asks for every image."""
    return 2 if rule.robust > 0 else 1


@torch.no_grad()
def normal_of(
    model: PyramidFlow,
    latents_of: Callable[[int], Sequence[Tensor]],
    count: int,
    rule: ContrastRule,
    has_template: bool = True,
    seen_of: Callable[[int], Tensor | None] = lambda index: None,
) -> Normal:
    """What training images have in common: template, spread, codebook.

    With ``rule.robust`` every image is compared with what all others have in common, and
    that share of them, one at least, is left out: those that score highest. Whole images are left
    out, not the extremes of each pixel: an image's score needs its own latents and the sums alone,
    so memory does not grow with the number of images, and the images can be named to whoever
    collected them. Bad images that share one fault in one place hide each other.

    Args:
        model: in evaluation mode.
        latents_of: latents ``[1, C, h_d, w_d]`` of an image by number.
        count: of the images.
        rule: what is compared, and the share that is left out.
        has_template: ``False`` compares with zero (ablation II).
        seen_of: which pixels of the map an image shows, by number: bool ``[h, w]``, or ``None`` for
            all of every image.
    """
    gathered = Gathered(model, rule, count, has_template)
    for index in range(count):
        latents = latents_of(index)  # the image is read first
        gathered.add(index, latents, seen_of(index))
    suspects: list[Suspect] = []
    if rule.robust > 0 and count > LEAST_IMAGES:
        scores = []
        for index in range(count):
            latents, seen = latents_of(index), seen_of(index)
            others = gathered.without(index, latents, seen).comparison()
            scores.append(_score(others.map_of(latents), seen))
        left_out = min(math.ceil(rule.robust * count), max(count - LEAST_IMAGES, 0))
        worst = sorted(range(count), key=lambda index: -scores[index])[:left_out]
        suspects = [Suspect(index, scores[index]) for index in worst]
        for index in worst:
            gathered = gathered.without(index, latents_of(index), seen_of(index))
    return replace(gathered.normal(), suspects=tuple(suspects))


def _score(anomaly_map: Tensor, seen: Tensor | None) -> float:
    """Maximum of a map ``[1, h, w]``, which may be padded, where the image shows something."""
    if seen is None:
        return float(anomaly_map.max())
    height, width = seen.shape
    return float((anomaly_map[0, :height, :width] * seen.to(anomaly_map.device)).max())
