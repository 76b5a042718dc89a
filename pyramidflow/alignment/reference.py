"""What poses are measured against: a mean of good images, and how well they agree with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pyramidflow.alignment.pose import Pose, inside, sampled, sampled_at, to_float
from pyramidflow.alignment.search import Found, PoseSearch
from pyramidflow.data import ImageSet, Pixels
from pyramidflow.errors import InputError
from pyramidflow.spec.alignment import AlignmentRule
from pyramidflow.validated import Validated, setting

SAMPLE = 24
"""Images that the reference is the mean of."""

FIRST = 3
"""Images that are tried as a first reference, each against :data:`JUDGES` others."""

JUDGES = 4

LEAST_COMMON = 0.4
"""Agreement below which a picture shows nothing of the other, however good parts differ.

Of the median of images with one of them, and of each with their mean. It lies below good parts, and
above nearly all pictures without one: see ``benchmarks/results/agreement.md``. Nothing found is an
agreement of 0.
"""

SPREADS = 6.0
"""How far below the median a good part's agreement may lie, in robust standard deviations."""

MARGIN = 0.1
"""Or in agreement, whichever is more: a defect costs some of it, too."""

HARDLY = 1e-3
"""Weight of pixels that were not seen: they count only where nothing else is known."""


@dataclass(frozen=True)
class ReferenceFacts(Validated):
    """What a detector's file says about its reference.

    Attributes:
        ratio: height over width of the images, as lengths.
        agreement: median of the training images.
        least_agreement: below it a part has no pose.

    Raises:
        InputError: a value has another type, or is out of its range.
    """

    group: ClassVar[str] = "alignment facts"

    ratio: float = setting(1.0, least=1e-3, most=1e3)
    agreement: float = setting(1.0, least=-1, most=1.001)
    least_agreement: float = setting(0.0, least=-1, most=1)

    @property
    def limit(self) -> float:
        """Agreement below which a part has no pose, whatever an older file allows."""
        return max(self.least_agreement, LEAST_COMMON)


@dataclass(frozen=True, eq=False)
class Reference:
    """What poses are measured against.

    Attributes:
        picture: ``[3, h, w]`` from 0 to 1, at the size that the network works at.
        shown: share of the good images that show each pixel, ``[h, w]``.
        facts: about both.
    """

    picture: Tensor
    shown: Tensor
    facts: ReferenceFacts

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Both tensors by name."""
        return {"picture": self.picture, "shown": self.shown}

    def fits(self, found: Found) -> bool:
        """Whether a part was found in a pose: what agrees too little shows none."""
        return found.agreement >= self.facts.limit

    def to(self, device: torch.device) -> "Reference":
        """The same on a device."""
        return Reference(self.picture.to(device), self.shown.to(device), self.facts)


@dataclass(frozen=True, eq=False)
class Learned:
    """A reference with the poses of the images that it was learned from.

    Attributes:
        reference: of them.
        found: of each image, in order.
    """

    reference: Reference
    found: tuple[Found, ...]

    @property
    def placed(self) -> list[int]:
        """Numbers of the images that have a pose."""
        return [index for index, each in enumerate(self.found) if self.reference.fits(each)]


def learned(images: ImageSet | Sequence[Pixels], rule: AlignmentRule, ratio: float) -> Learned:
    """Choose a reference from good images, and find the poses of all of them.

    The image that agrees best with some others is the first reference; those that agree with it are
    brought to its pose, in the middle of where they lie, and their mean is the reference. An image
    has a pose if its agreement with the mean is at most ``SPREADS`` robust standard deviations, or
    ``MARGIN``, below the median, and no less than ``LEAST_COMMON``.

    Args:
        images: good ones, as they lie.
        rule: how far parts may lie off.
        ratio: height over width of the images, as lengths.

    Raises:
        InputError: an image cannot be read, or they have no pose in common.
    """
    pictures = [to_float(images[index]) for index in _spread(len(images), SAMPLE)]
    limits = (ratio, rule.largest_shift, rule.turns)
    first = _most_typical(pictures, limits)
    found = [first.find(picture) for picture in pictures]
    each_other = float(np.median(sorted(each.agreement for each in found)[:-1]))  # not itself
    if each_other < LEAST_COMMON:
        raise InputError(
            f"the good images have no pose in common (they agree by {each_other:.2f}, at least "
            f"{LEAST_COMMON} is expected): train with align none."
        )
    middle = _middle([each.pose for each in _agreeing(found)])
    least = min(each.agreement for each in _agreeing(found))
    members = [
        (picture, each.pose.after(middle))
        for picture, each in zip(pictures, found, strict=True)
        if each.agreement >= least
    ]
    mean = _mean(members, ratio)
    search = PoseSearch(mean, *limits)
    everywhere = tuple(search.find(to_float(images[i])) for i in range(len(images)))
    agreements = [each.agreement for each in everywhere]
    median = float(np.median(agreements))
    itself = (1 - each_other) / (len(members) * median)  # what an image brings to its own agreement
    facts = ReferenceFacts(ratio, median, max(LEAST_COMMON, _least(agreements) - itself))
    placed = [each.pose for each in everywhere if each.agreement >= facts.least_agreement]
    return Learned(Reference(mean, _shown(placed, mean, ratio), facts), everywhere)


def _least(agreements: Sequence[float]) -> float:
    median = float(np.median(agreements))
    spread = 1.4826 * float(np.median(np.abs(np.subtract(agreements, median))))
    return max(LEAST_COMMON, median - max(SPREADS * spread, MARGIN))


def _agreeing(found: Sequence[Found]) -> list[Found]:
    least = _least([each.agreement for each in found])
    return [each for each in found if each.agreement >= least]


def _spread(count: int, wanted: int) -> list[int]:
    """Numbers below a count, evenly spread."""
    return sorted({int(place) for place in np.linspace(0, count - 1, min(count, wanted))})


def _most_typical(pictures: Sequence[Tensor], limits: tuple[float, float, float]) -> PoseSearch:
    judges = [pictures[index] for index in _spread(len(pictures), JUDGES)]
    best: tuple[float, PoseSearch] | None = None
    for index in _spread(len(pictures), FIRST):
        search = PoseSearch(pictures[index], *limits)
        agreement = float(np.median([search.find(judge).agreement for judge in judges]))
        if best is None or agreement > best[0]:
            best = agreement, search
    assert best is not None
    return best[1]


def _middle(poses: Sequence[Pose]) -> Pose:
    """The pose, in the first reference, that the least has to be filled in from.

    Its centre is where the images' centres lie; where they are turned a little, not anyhow, its
    angle is their mean.
    """
    centres = [pose.inverse for pose in poses]
    x, y = (float(np.median([getattr(centre, axis) for centre in centres])) for axis in "xy")
    mean = np.mean([np.exp(1j * math.radians(pose.angle)) for pose in poses])
    angle = -math.degrees(float(np.angle(mean))) if abs(mean) > 0.9 else 0.0
    return Pose(x, y, angle)


def _mean(members: Sequence[tuple[Tensor, Pose]], ratio: float) -> Tensor:
    """Mean of pictures ``[3, h, w]`` read at their poses, each where it was seen.

    Their light is made alike before: else the mean has an edge wherever a picture ends.
    """
    light = torch.stack([_light(picture) for picture, _ in members]).mean(0)
    total = torch.zeros_like(members[0][0])
    weights = torch.zeros(total.shape[1:])
    for picture, pose in members:
        grid = sampled_at(pose, (total.shape[1], total.shape[2]), ratio)
        weight = torch.from_numpy(inside(grid)).float() + HARDLY
        alike = picture * (light / _light(picture))
        total += weight * sampled(alike, grid, "bicubic")
        weights += weight
    return (total / weights).clamp(0, 1)


def _shown(poses: Sequence[Pose], mean: Tensor, ratio: float) -> Tensor:
    size = (mean.shape[1], mean.shape[2])
    masks = (inside(sampled_at(pose, size, ratio)) for pose in poses)
    return torch.stack([torch.from_numpy(mask).float() for mask in masks]).mean(0)


def _light(picture: Tensor) -> Tensor:
    """Mean of each channel, ``[3, 1, 1]``, above 0."""
    return picture.mean((1, 2), keepdim=True).clamp_min(1e-3)
