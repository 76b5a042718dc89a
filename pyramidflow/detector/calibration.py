"""The threshold that good images alone can give."""

import math
from collections.abc import Sequence
from typing import Any

from pyramidflow.errors import InputError


def conformal_threshold(
    scores: Sequence[float], target_false_reject_rate: float
) -> tuple[float, dict[str, Any]]:
    """Threshold that keeps the rate of false rejects, from the scores of good images.

    With ``n`` scores in ascending order it is the ``k``-th, ``k = ⌈(n + 1)(1 − rate)⌉``: a further
    good image, drawn like these, scores higher with probability at most
    ``1 − k / (n + 1) ≤ rate``. Where ``n < 1/rate − 1`` no score gives that promise and the largest
    one is taken.

    Args:
        scores: of good images.
        target_false_reject_rate: in (0, 1).

    Returns:
        The threshold, and a record: ``images``, ``target_false_reject_rate``,
        ``promised_false_reject_rate``, ``rank`` (``k``), ``images_needed_for_target``.

    Raises:
        InputError: no scores, or a rate outside (0, 1).

    Source: split conformal prediction (Vovk, Gammerman, Shafer, 2005).
    """
    rate = target_false_reject_rate
    if not 0 < rate < 1:
        raise InputError(f"the target false reject rate is {rate}: give a number between 0 and 1.")
    if len(scores) == 0:
        raise InputError("there are no images to calibrate on: give good images.")
    count = len(scores)
    rounding = 1e-9  # (n + 1)(1 − rate) is often a whole number, but not in binary
    rank = min(math.ceil((count + 1) * (1 - rate) - rounding), count)
    record = {
        "images": count,
        "target_false_reject_rate": rate,
        "promised_false_reject_rate": 1 - rank / (count + 1),
        "rank": rank,
        "images_needed_for_target": math.ceil(1 / rate - 1 - rounding),
    }
    return sorted(scores)[rank - 1], record
