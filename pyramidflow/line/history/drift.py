"""Whether the scores of good parts drift: a control chart that needs no kind of distribution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

REFERENCE: Final = 200
"""Good parts that the later ones are compared with."""

SMOOTHING: Final = 0.02
"""Weight of the newest part; about the last hundred parts count."""

PARTS_PER_FALSE_ALARM: Final = 100_000
"""Good parts between two false alarms, on average."""

_STATES: Final = 201  # of the chain that gives the run length; more change its fifth digit


@dataclass(frozen=True)
class Drift:
    """How far the scores of good parts have drifted.

    Attributes:
        level: of the chart now, in standard deviations of a single part's normal score; above 0
            scores are higher than those of the reference.
        limit: that the level's size may have.
        since: place of the part, among those after the reference, that the level has been above
            its limit from on; ``None`` where it is not.
        reference: median score of the reference.
        recent: median score of the last parts, as many as count.
    """

    level: float
    limit: float
    since: int | None
    reference: float
    recent: float

    @property
    def is_alarm(self) -> bool:
        """Whether the level is above its limit."""
        return self.since is not None


def drift(scores: Sequence[float], reference: int = REFERENCE) -> Drift | None:
    """Compare the scores of good parts with those of the first ones.

    Each later score ``s`` becomes the normal score ``z = Φ⁻¹((r + 0.5) / (n + 1))`` of its rank
    ``r`` among the ``n`` of the reference (half for each equal one), which is normal where nothing
    has changed, whatever the scores' distribution. Their moving average
    ``e_t = (1 − λ) e_{t−1} + λ z_t``, ``λ = 0.02``, is the level. Its variance is
    ``λ / (2 − λ) · (1 − (1 − λ)^{2t})``, and ``(1 − (1 − λ)^t)² / n`` more because the reference is
    but a sample. An alarm is ``|e_t| > L · σ_t``, with ``L`` such that a chart without drift raises
    one in :data:`PARTS_PER_FALSE_ALARM` parts.

    Args:
        scores: of good parts by one detector, in the order of time, finite.
        reference: how many of them are the reference.

    Returns:
        The chart's state after the last part; ``None`` with fewer than ``1/λ`` parts behind the
        reference.

    Source: Roberts, 1959 (EWMA); Brook and Evans, 1972 (run length); van der Waerden scores.
    """
    from scipy.stats import norm

    first = np.sort(np.asarray(scores[:reference], dtype=np.float64))
    later = np.asarray(scores[reference:], dtype=np.float64)
    if len(first) < reference or len(later) < 1 / SMOOTHING:
        return None
    below = np.searchsorted(first, later, "left")
    equal = np.searchsorted(first, later, "right") - below
    z = norm.ppf((below + equal / 2 + 0.5) / (reference + 1))
    step = np.arange(1, len(later) + 1)
    kept = (1 - SMOOTHING) ** step
    variance = SMOOTHING / (2 - SMOOTHING) * (1 - kept**2) + (1 - kept) ** 2 / reference
    limits = _limit() * np.sqrt(variance)
    levels = _moving_average(z)
    outside = np.abs(levels) > limits
    inside = np.flatnonzero(~outside)
    since = None
    if outside[-1]:
        since = int(inside[-1]) + 1 if len(inside) else 0
    return Drift(
        level=float(levels[-1]),
        limit=float(limits[-1]),
        since=since,
        reference=float(np.median(first)),
        recent=float(np.median(later[-round(2 / SMOOTHING) :])),
    )


def _moving_average(
    z: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    from scipy.signal import lfilter

    smoothed: np.ndarray[tuple[int], np.dtype[np.float64]] = lfilter(
        [SMOOTHING], [1, SMOOTHING - 1], z
    )
    return smoothed


@cache
def _limit() -> float:
    from scipy.optimize import brentq

    wanted = math.log(PARTS_PER_FALSE_ALARM)
    return float(brentq(lambda limit: math.log(run_length(limit)) - wanted, 2.0, 6.0))


def run_length(limit: float, smoothing: float = SMOOTHING) -> float:
    """Parts until a chart without drift raises an alarm, on average.

    Args:
        limit: in standard deviations of the moving average.
        smoothing: weight of the newest part.

    Returns:
        ``[(I − Q)⁻¹ 1]`` at level 0, with ``Q`` the steps between levels inside the limit.
    """
    from scipy.stats import norm

    reach = limit * math.sqrt(smoothing / (2 - smoothing))
    width = 2 * reach / _STATES
    centres = -reach + width * (np.arange(_STATES) + 0.5)
    # From level c to (1 − λ) c + λ z.
    ends = centres[None, :] - (1 - smoothing) * centres[:, None]
    steps = norm.cdf((ends + width / 2) / smoothing) - norm.cdf((ends - width / 2) / smoothing)
    lengths = np.linalg.solve(np.eye(_STATES) - steps, np.ones(_STATES))
    return float(lengths[_STATES // 2])
