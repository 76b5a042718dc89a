"""Shares of images, with what their number of images can tell about them."""

from dataclasses import dataclass

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
