"""Shares of images, with what their number of images can tell about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

CONFIDENCE = 0.95
"""Of the intervals in reports and tables."""


@dataclass(frozen=True)
class Rate:
    """How many of a number of images something happened to.

    Attributes:
        count: of the images that it happened to.
        total: of the images.
    """

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share; NaN without images."""
        return self.count / self.total if self.total else float("nan")

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Exact two-sided confidence interval of the share that further images would have.

        Args:
            confidence: in (0, 1).

        Returns:
            Its ends; NaN without images.

        Source: Clopper and Pearson, 1934.
        """
        if not self.total:
            return float("nan"), float("nan")
        from scipy.stats import binomtest

        found = binomtest(self.count, self.total).proportion_ci(confidence, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        """As ``3 of 60, 5.0% (1.0% to 13.9%)``."""
        if not self.total:
            return "no images"
        low, high = self.interval()
        return f"{self.count} of {self.total}, {self.value:.1%} ({low:.1%} to {high:.1%})"


class Mistakes(NamedTuple):
    """How verdicts on images that a person knows go wrong.

    Attributes:
        false_rejects: good images that are ng, of all good ones.
        good_reviews: good images for review, of all good ones: a person sees them, and lets them
            pass.
        escapes: defective images that are ok, of all defective ones.
    """

    false_rejects: Rate
    good_reviews: Rate
    escapes: Rate


def mistakes(good: Sequence[str], bad: Sequence[str]) -> Mistakes:
    """Count what verdicts on known images get wrong.

    Args:
        good: verdicts on good images.
        bad: verdicts on defective images.
    """
    return Mistakes(
        Rate(good.count("ng"), len(good)),
        Rate(good.count("review"), len(good)),
        Rate(bad.count("ok"), len(bad)),
    )
