"""From a score to a verdict: what is still good."""

import math
from typing import Literal

from pyramidflow.errors import InputError

Verdict = Literal["ok", "review", "ng"]
"""``"review"``: a person has to look, since the score lies between two thresholds, or the part was
not found where parts lie."""


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
