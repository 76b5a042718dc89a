"""From an anomaly map to a verdict: where defects count, and what is still good."""

import math
from typing import Literal

import torch
from torch import Tensor

from pyramidflow.errors import InputError
from pyramidflow.spec import VerdictRule

Verdict = Literal["ok", "review", "ng"]
"""``"review"``: a person has to look, since the score lies between two thresholds, or the part was
not found where parts lie."""


def interest_mask(rule: VerdictRule, size: tuple[int, int], device: torch.device) -> Tensor | None:
    """Mask of the region of interest.

    Args:
        rule: with the region.
        size: height and width of the anomaly map.
        device: where the mask lives.

    Returns:
        ``[h, w]``, 1 for pixels whose centre lies inside, else 0; ``None`` where all do.
    """
    if rule.region_of_interest is None:
        return None
    left, top, right, bottom = rule.region_of_interest
    y = (torch.arange(size[0], dtype=torch.float64) + 0.5) / size[0]
    x = (torch.arange(size[1], dtype=torch.float64) + 0.5) / size[1]
    inside = ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))  # [h, w]
    return inside.float().to(device)


def judge(
    score: float,
    threshold: float,
    review_threshold: float | None = None,
    *,
    is_placed: bool = True,
) -> Verdict:
    """``"ng"`` above the threshold, ``"review"`` above the review threshold or without a pose.

    Args:
        score: of the image.
        threshold: largest score that is not ``"ng"``.
        review_threshold: largest score that is ``"ok"``; ``None`` takes the threshold.
        is_placed: whether the part was found: of a part that was not, the score says nothing.

    Raises:
        InputError: the score is not finite.
    """
    if not math.isfinite(score):
        raise InputError(
            f"the score is {score}: a finite number is expected; inspect in float32, or train "
            "again."
        )
    if not is_placed:
        return "review"
    if score > threshold:
        return "ng"
    return "review" if review_threshold is not None and score > review_threshold else "ok"


def overlay_scale(threshold: float | None) -> float:
    """Anomaly value at the top of the overlays' colour scale: twice the threshold.

    Raises:
        InputError: there is no threshold.
    """
    if threshold is None:
        raise InputError("this detector has no threshold yet: calibrate it on good images.")
    return 2 * threshold or 1.0
