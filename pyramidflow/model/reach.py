"""Which image pixels a pixel of a signal depends on, followed through filters and resizings.

Nothing heavy is imported: encoders say their reach before they are built.
"""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Reach:
    """Which image pixels each pixel of a signal depends on, along one axis of an endless image.

    Pixel ``q`` depends on ``spacing · q + first … spacing · q + last``, the pair being that of
    ``q`` modulo the number of pairs.

    Attributes:
        spacing: image pixels between neighbours.
        spans: ``first`` and ``last``, for each place in a period.
    """

    spacing: int
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of_pixels(cls, period: int) -> "Reach":
        """Of the image itself, with room for a period of so many pixels."""
        return cls(1, ((0, 0),) * period)

    def window(self, first: int, last: int) -> "Reach":
        """Of a signal whose pixel ``q`` reads ``q + first … q + last`` of this one."""
        period = len(self.spans)
        read = [
            [(i * self.spacing, self.spans[(q + i) % period]) for i in range(first, last + 1)]
            for q in range(period)
        ]
        spans = (
            (min(at + span[0] for at, span in reads), max(at + span[1] for at, span in reads))
            for reads in read
        )
        return Reach(self.spacing, tuple(spans))

    def halved(self) -> "Reach":
        """Of every other pixel, the first one included."""
        return Reach(2 * self.spacing, self.spans[::2])

    def doubled(self) -> "Reach":
        """Of each pixel twice."""
        spacing = self.spacing // 2
        moved = ((a - odd * spacing, b - odd * spacing) for a, b in self.spans for odd in (0, 1))
        return Reach(spacing, tuple(moved))

    def resized(self, by: int) -> "Reach":
        """Of each pixel twice (1), of every other pixel (−1), or of all as they are (0)."""
        if by == 0:
            return self
        return self.doubled() if by > 0 else self.halved()

    def joined(self, other: "Reach") -> "Reach":
        """Of a signal that reads both at the same place."""
        pairs = zip(self.spans, other.spans, strict=True)
        return Reach(self.spacing, tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs))

    @cached_property
    def lost_before(self) -> int:
        """Pixels of the signal that are wrong where the image is cut off before its pixel 0."""
        period = len(self.spans)
        return max(
            # The last pixel at this place of the period that reads a negative one.
            max(0, q + period * ((-first - 1 - self.spacing * q) // (self.spacing * period)) + 1)
            for q, (first, _) in enumerate(self.spans)
        )

    def lost_after(self, size: int) -> int:
        """Pixels of the signal that are wrong where the image is cut off after ``size`` pixels."""
        kept = min(
            # The first pixel at this place of the period that reads pixel `size` or one after it.
            q + len(self.spans) * -(-(size - last - self.spacing * q) // self.unit)
            for q, (_, last) in enumerate(self.spans)
        )
        return -(-size // self.spacing) - kept

    @property
    def unit(self) -> int:
        """Image pixels of a period: a cut at a multiple of it moves every level's pixels alike."""
        return self.spacing * len(self.spans)
