"""How good parts lie in their images, and what bringing them to one pose does to their scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, pstdev

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.alignment import Aligner, Placed, Reference, learned
from pyramidflow.data import ImageSet, Pixels, network_input
from pyramidflow.errors import InputError
from pyramidflow.model import PyramidFlow
from pyramidflow.model.normal import comparison_of
from pyramidflow.spec import PLAIN_CONTRAST, AlignmentRule, Spec
from pyramidflow.training.statistics import map_score, normal_of

SAMPLE = 12
"""Images that are looked at: one half of them is compared with the other."""

SHOWN = 0.9
"""Share of the images that show each pixel whose scores are compared: the rest is known less well
where parts are turned, and that is no fault of the pose."""

LEAST = 8
"""Images that say anything."""


@dataclass(frozen=True)
class PoseStatistics:
    """How good parts lie, by a sample of their images.

    Attributes:
        shift: median distance from the middle of all, as a share of the width.
        angle: median turn against the reference, in degrees.
        lying_scores: mean and standard deviation of the images' scores against others, as they lie.
        aligned_scores: likewise, in one pose.
    """

    shift: float
    angle: float
    lying_scores: tuple[float, float]
    aligned_scores: tuple[float, float]


def pose_statistics(
    images: ImageSet, ratio: float, network: PyramidFlow, spec: Spec, reference: Reference | None
) -> PoseStatistics | None:
    """See how good parts lie, and what alignment does, or would do, to their scores.

    The network is the one that was trained, on parts as they lay or aligned: what another training
    would give, only another training tells.

    Args:
        images: good ones, as they lie.
        ratio: height over width of the images, as lengths.
        network: trained, in evaluation mode.
        spec: every setting.
        reference: that the training aligned with; ``None`` where it did not, then one is learned.

    Returns:
        ``None`` where there are too few images, or they have no pose in common.
    """
    if len(images) < LEAST:
        return None
    lying = [images[int(k)] for k in np.linspace(0, len(images) - 1, min(len(images), SAMPLE))]
    rule = spec.alignment
    if reference is None:
        rule = AlignmentRule("turn", rule.largest_shift, rule.largest_angle)
        try:
            reference = learned(lying, rule, ratio).reference
        except InputError:
            return None
    aligner = Aligner(reference, rule)
    placed = [aligner.place(pixels) for pixels in lying]
    poses = [each.pose for each in placed if each.is_found]
    if len(poses) < LEAST:
        return None
    as_they_lie = [
        Placed(pixels, each.found, False) for pixels, each in zip(lying, placed, strict=True)
    ]
    found = [each for each in placed if each.is_found]
    return PoseStatistics(
        median(math.hypot(pose.x, pose.y) for pose in poses),
        median(abs(pose.angle) for pose in poses),
        _scores(network, spec, aligner, as_they_lie),
        _scores(network, spec, aligner, found),
    )


@torch.no_grad()
def _scores(
    network: PyramidFlow, spec: Spec, aligner: Aligner, placed: Sequence[Placed]
) -> tuple[float, float]:
    """Mean and standard deviation of every other image's score against the rest."""
    device = next(network.parameters()).device

    def input_of(pixels: Pixels) -> Tensor:
        return network_input([pixels], spec.preprocessing, device)

    height, width = network.features(input_of(placed[0].pixels)).shape[-2:]

    shown = functional.adaptive_avg_pool2d(aligner.reference.shown.cpu()[None], (height, width))[0]

    def seen_of(each: Placed) -> Tensor:
        return torch.from_numpy(aligner.seen(each.pose, (height, width)))

    known, others = placed[::2], placed[1::2]
    # With the template alone: a spread would divide by the very differences that are asked for.
    rule = replace(PLAIN_CONTRAST, light=spec.contrast.light)
    normal = normal_of(
        network,
        lambda index: network(input_of(known[index].pixels)),
        len(known),
        rule,
        "template" not in spec.recipe.without,
        lambda index: seen_of(known[index]),
    )
    comparison = comparison_of(
        rule, normal.template, pyramid_difference=spec.network.pyramid_difference
    )
    scores = [
        map_score(
            comparison.map_of(network(input_of(each.pixels))), seen_of(each) & (shown >= SHOWN)
        )
        for each in others
    ]
    return fmean(scores), pstdev(scores)
