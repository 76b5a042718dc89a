"""What the latents of the training images have in common."""

import math
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyramidflow.io.tensors import tensors_below
from pyramidflow.model import Codebook, Comparison, PyramidFlow
from pyramidflow.model.codebook import level_of
from pyramidflow.model.normal import comparison_of
from pyramidflow.spec import ContrastRule
from pyramidflow.training.clusters import Sketches
from pyramidflow.training.codebook import Draws
from pyramidflow.training.moments import UNSEEN, Moments, inverse_spread, level_weights
from pyramidflow.training.parallel import OneProcess, Parallel

LEAST_IMAGES = 2
"""That template and spread are taken from, whatever share may be bad."""


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
        template: mean latents of each group of images, levels ``[K, C, h_d, w_d]``, finest first.
        inverse_spread: see :func:`pyramidflow.training.moments.inverse_spread`.
        codebook: ``None`` where the rule asks for none.
        suspects: the images that were left out, worst first.
    """

    template: tuple[Tensor, ...]
    inverse_spread: tuple[Tensor, ...] | None
    codebook: Codebook | None = None
    suspects: tuple[Suspect, ...] = ()

    def comparison(self, rule: ContrastRule, pyramid_difference: bool = True) -> Comparison:
        """With all of it, see :func:`pyramidflow.model.normal.comparison_of`."""
        return comparison_of(
            rule,
            self.template,
            self.inverse_spread,
            self.codebook,
            pyramid_difference=pyramid_difference,
        )


@dataclass(frozen=True)
class Together:
    """How the images of a training are gone through.

    Attributes:
        parallel: the processes that do so.
        in_turn: of so many images, the numbers of those that fall to this process; the first one
            falls to process 0.
    """

    parallel: Parallel
    in_turn: Callable[[int], Iterable[int]]


ALONE = Together(OneProcess(), range)
"""All images in this process."""


class Gathered:
    """Of the training images what a rule asks for.

    Args:
        model: whose latents they are.
        rule: what is compared.
        groups: number of each image's group: those of one have a template in common.
        has_template: ``False`` compares with zero (ablation II).
    """

    def __init__(
        self, model: PyramidFlow, rule: ContrastRule, groups: Sequence[int], has_template: bool
    ) -> None:
        architecture = model.architecture
        self._rule, self._groups, self._has_template = rule, groups, has_template
        self._pyramid_difference = architecture.pyramid_difference
        self._moments: dict[int, Moments] = {}
        self._sizes: list[torch.Size] = []
        self._draws: Draws | None = None
        if rule.codebook > 0:
            level = level_of(architecture.stride, architecture.levels, rule.beside_template)
            self._draws = Draws(rule, level, len(groups))

    def add(self, index: int, latents: Sequence[Tensor], seen: Tensor | None = None) -> None:
        """Count an image in, see :meth:`Moments.add`."""
        self._sizes = [z.shape[2:] for z in latents]
        moments = self._moments.setdefault(self._groups[index], Moments(self._rule))
        moments.add(latents, seen)
        if self._draws is not None:
            at = self._draws.level
            shown = None if seen is None else level_weights(seen, latents)[at] > UNSEEN
            self._draws.add(index, latents, shown)

    def without(
        self, index: int, latents: Sequence[Tensor], seen: Tensor | None = None
    ) -> "Gathered":
        """These without an image that was counted in; a group of that image alone is no more."""
        others, group = copy(self), self._groups[index]
        others._moments = dict(self._moments)
        rest = others._moments.pop(group).without(latents, seen)
        if rest.count:
            others._moments[group] = rest
        others._draws = None if self._draws is None else self._draws.without(index)
        return others

    def united(self, parallel: Parallel) -> "Gathered":
        """Of the images of all processes, of which each has counted in its own."""
        if parallel.world == 1:
            return self
        parts = {
            f"moments/{group}/{name}": x
            for group, moments in self._moments.items()
            for name, x in moments.tensors().items()
        }
        if self._draws is not None:
            parts |= {f"draws/{name}": x for name, x in self._draws.tensors().items()}
        if parallel.rank == 0:
            parts["sizes"] = torch.tensor(self._sizes)
        found, all_images = parallel.united(parts), copy(self)
        all_images._sizes = [torch.Size(size) for size in found["sizes"].tolist()]
        all_images._moments = {
            group: Moments.of(self._rule, tensors_below(found, f"moments/{group}/"))
            for group in set(self._groups)
        }
        if self._draws is not None:
            all_images._draws = self._draws.with_tensors(tensors_below(found, "draws/"))
        return all_images

    def normal(self) -> Normal:
        """What the images have in common."""
        groups = [self._moments[group] for group in sorted(self._moments)]
        levels = zip(*(moments.mean() for moments in groups), strict=True)
        means = [torch.cat(level).float() for level in levels]  # [K, C, h_d, w_d]
        means = [
            mean.expand(-1, -1, *size).contiguous()
            for mean, size in zip(means, self._sizes, strict=True)
        ]
        if not self._has_template:
            means = [torch.zeros_like(mean) for mean in means]
        spread = inverse_spread(groups, self._rule)
        codebook = None if self._draws is None else self._draws.codebook()
        return Normal(tuple(means), spread, codebook)

    def comparison(self) -> Comparison:
        """With what the images have in common."""
        return self.normal().comparison(self._rule, self._pyramid_difference)


def passes(rule: ContrastRule) -> int:
    """How often :func:`normal_of` asks for every image."""
    return 1 + (rule.templates > 1) + (rule.robust > 0)


@torch.no_grad()
def normal_of(
    model: PyramidFlow,
    latents_of: Callable[[int], Sequence[Tensor]],
    count: int,
    rule: ContrastRule,
    has_template: bool = True,
    seen_of: Callable[[int], Tensor | None] = lambda index: None,
    together: Together = ALONE,
) -> Normal:
    """What training images have in common: templates, spread, codebook.

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
        together: how the images are gone through.
    """
    parallel, in_turn = together.parallel, together.in_turn
    groups = [0] * count
    if rule.templates > 1:
        sketches = Sketches(rule)
        for index in in_turn(count):
            sketches.add(index, latents_of(index))
        groups = sketches.united(parallel).groups(rule.templates)
    gathered = Gathered(model, rule, groups, has_template)
    for index in in_turn(count):
        latents = latents_of(index)  # the image is read first
        gathered.add(index, latents, seen_of(index))
    gathered = gathered.united(parallel)
    suspects: list[Suspect] = []
    if rule.robust > 0 and count > LEAST_IMAGES:
        own = {}
        for index in in_turn(count):
            latents, seen = latents_of(index), seen_of(index)
            others = gathered.without(index, latents, seen).comparison()
            score = map_score(others.map_of(latents), seen)
            own[str(index)] = torch.tensor(score, dtype=torch.float64)
        found = parallel.united(own)
        scores = [float(found[str(index)]) for index in range(count)]
        left_out = min(math.ceil(rule.robust * count), max(count - LEAST_IMAGES, 0))
        worst = sorted(range(count), key=lambda index: -scores[index])[:left_out]
        suspects = [Suspect(index, scores[index]) for index in worst]
        for index in worst:
            gathered = gathered.without(index, latents_of(index), seen_of(index))
    return replace(gathered.normal(), suspects=tuple(suspects))


def map_score(anomaly_map: Tensor, seen: Tensor | None) -> float:
    """Maximum of a map ``[1, h, w]``, which may be padded, where the image shows something."""
    if seen is None:
        return float(anomaly_map.max())
    height, width = seen.shape
    return float((anomaly_map[0, :height, :width] * seen.to(anomaly_map.device)).max())
