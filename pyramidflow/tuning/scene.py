"""A good image as a defect sees it: where the part lies, and which tones it has."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import filters

from pyramidflow.data import Pixels, resize_image
from pyramidflow.detector.counted_area import stretched

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

Place = tuple[slice, slice]
"""Rows and columns of a window of an image."""

LOOKED_AT = 256
"""Longest side in pixels at which the part is looked for."""

FLAT = 0.1
"""A background's largest deviation along the image's border, as a share of the image's range."""

LEAST_PART, MOST_PART = 0.05, 0.95
"""Shares of an image between which a part is told from its background."""

LEAST_RANGE = 1 / 32
"""Of tones, as a share of the brightest: an image may have one tone alone."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A good image to draw defects into, or to take pieces from.

    Attributes:
        pixels: ``[H, W, 3]``, uint8 or uint16.
        area: ``[H, W]``, true where defects count; ``None`` everywhere.
    """

    pixels: Pixels
    area: BoolArray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def side(self) -> float:
        """Of a square with as many pixels as the part has."""
        height, width = self.size
        return float(np.sqrt(self._part.mean() * height * width))

    @cached_property
    def is_grey(self) -> bool:
        """Whether all channels are equal."""
        red = self.pixels[..., :1]
        return bool((self.pixels == red).all())

    @cached_property
    def tones(self) -> tuple[float, float]:
        """The part's dark and bright tones: its values at 1% and 99%."""
        height, width = self._part.shape
        small = resize_image(self.pixels, (height, width))
        low, high = np.percentile(small[self._part], (1, 99))
        return float(low), max(float(high), float(low) + LEAST_RANGE * float(small.max()), 1.0)

    @property
    def range(self) -> float:
        """From the dark to the bright tone."""
        low, high = self.tones
        return max(high - low, 1.0)

    @cached_property
    def _part(self) -> BoolArray:
        height, width = self.size
        scale = min(1.0, LOOKED_AT / max(height, width))
        small = resize_image(
            self.pixels, (max(1, round(scale * height)), max(1, round(scale * width)))
        )
        return find_part(small.astype(np.float32).mean(2))

    @cached_property
    def _where(self) -> BoolArray:
        """The part where defects count; where these do not meet, all that counts."""
        if self.area is None:
            return self._part
        counted = stretched(self.area, self._part.shape)
        both: BoolArray = self._part & counted
        return both if both.any() else counted if counted.any() else self._part

    def part(self, place: Place) -> FloatArray:
        """1 on the part where defects count and 0 beside it, ``[h, w]``, soft at its border."""
        height, width = self.size
        rows, columns = (
            (np.arange(s.start, s.stop) + 0.5) * length / full - 0.5
            for s, length, full in zip(place, self._where.shape, (height, width), strict=True)
        )
        grid = np.meshgrid(rows, columns, indexing="ij")
        found: FloatArray = ndimage.map_coordinates(
            self._where.astype(np.float32), grid, order=1, mode="nearest"
        )
        return found

    def place(self, size: tuple[int, int], rng: np.random.Generator) -> Place:
        """A window around a random point of the part where defects count.

        Args:
            size: wanted height and width; the image's where it is smaller.
            rng: draws the point.
        """
        inside = np.argwhere(self._where)
        point = (inside[rng.integers(len(inside))] + rng.random(2)) / self._where.shape
        rows, columns = (
            _window(int(share * full), min(wanted, full), full)
            for share, wanted, full in zip(point, size, self.size, strict=True)
        )
        return rows, columns

    def crop(self, place: Place) -> FloatArray:
        """The image there, float32 ``[h, w, 3]``."""
        found: FloatArray = self.pixels[place].astype(np.float32)
        return found

    def piece(self, size: tuple[int, int], rng: np.random.Generator) -> FloatArray:
        """A window somewhere on the part, float32 ``[h, w, 3]``, turned over at random.

        Args:
            size: height and width; the image is mirrored at its border where it is smaller.
            rng: draws the place.
        """
        window = self.crop(self.place(size, rng))
        missing = [n - m for n, m in zip(size, window.shape[:2], strict=True)]
        window = np.pad(window, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="symmetric")
        flips = [-1 if flipped else 1 for flipped in rng.random(2) < 0.5]
        return np.ascontiguousarray(window[:: flips[0], :: flips[1]])


def find_part(grey: FloatArray) -> BoolArray:
    """Where the part lies, if it lies on a flat background.

    The background is flat where the image's border has one tone. What differs from that tone by
    more than Otsu's threshold is the part, its holes filled; where that is next to nothing or all,
    and where the border is not flat, the part is the whole image.

    Args:
        grey: ``[h, w]``.
    """
    whole: BoolArray = np.ones(grey.shape, dtype=bool)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    tone = np.median(border)
    low, high = np.percentile(grey, (1, 99))
    if high <= low or np.percentile(np.abs(border - tone), 90) > FLAT * (high - low):
        return whole
    distance = np.abs(grey - tone)
    threshold = filters.threshold_otsu(distance)  # type: ignore[no-untyped-call]
    part = ndimage.binary_closing(distance > threshold, iterations=2) | (distance > threshold)
    part = ndimage.binary_fill_holes(part)
    labels, _ = ndimage.label(part)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    part = sizes[labels] > 0.2 * sizes.max() if sizes.max() else part
    return part if LEAST_PART <= part.mean() <= MOST_PART else whole


def _window(centre: int, length: int, full: int) -> slice:
    start = min(max(centre - length // 2, 0), full - length)
    return slice(start, start + length)
