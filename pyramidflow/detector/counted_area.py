"""Which pixels of an anomaly map count, and how many make a defect."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pyramidflow.data import read_picture_mask
from pyramidflow.errors import InputError
from pyramidflow.spec import ImageSize, VerdictRule
from pyramidflow.spec.areas import Area, MaskPicture, Polygon, areas_text, listed

Mask = npt.NDArray[np.bool_]

SIZES_KEPT = 64
"""Sizes of images whose masks are kept."""


@dataclass(frozen=True, eq=False)
class Field:
    """What counts on the map of an image.

    Attributes:
        mask: ``[h, w]``, true where defects count; ``None`` where all pixels do.
        pixels: of the map that a region has at least.
    """

    mask: Mask | None = None
    pixels: int = 1


class CountedArea:
    """Where defects count on maps of one size, for images of any size.

    Args:
        rule: with the areas.
        masks: those of its mask pictures, ``[H, W]`` each, above 0 where the picture is.
        map_size: height and width of the map.

    Raises:
        InputError: no pixel of the map counts.
    """

    def __init__(self, rule: VerdictRule, masks: Sequence[Tensor], map_size: ImageSize) -> None:
        self._rule = rule
        self._masks = {
            name: mask.cpu().numpy() > 0 for name, mask in zip(rule.masks, masks, strict=True)
        }
        self._map_size = map_size
        self._known: dict[ImageSize, Field] = {}
        self.fixed: Mask | None = None
        if not rule.has_pixel_areas:
            self.fixed = self._mask(None)

    @property
    def varies(self) -> bool:
        """Whether what counts depends on the image's size."""
        return self._rule.has_pixel_areas

    def of(self, image_size: ImageSize) -> Field:
        """What counts on the map of an image of ``(H, W)``.

        Raises:
            InputError: nothing does, or no part that counts is as large as the minimum area.
        """
        if not self._rule.depends_on_size:
            image_size = (0, 0)
        known = self._known.get(image_size)
        if known is None:
            known = self._field(image_size)
            if len(self._known) >= SIZES_KEPT:
                self._known = {}
            self._known[image_size] = known
        return known

    def _field(self, image_size: ImageSize) -> Field:
        mask = self._mask(image_size) if self.varies else self.fixed
        if self._rule.least_area == 0:
            return Field(mask)
        pixels = least_pixels(self._rule.least_area, image_size, self._map_size)
        if pixels > _largest_part(mask, self._map_size):
            raise InputError(
                f"minimum_area is {self._rule.minimum_area} and the image {image_size[0]}×"
                f"{image_size[1]} pixels: no part of it where defects count is as large, so that "
                "every part would be ok; give a smaller area."
            )
        return Field(mask, pixels)

    def _mask(self, image_size: ImageSize | None) -> Mask | None:
        region, exclude = self._rule.region_of_interest, self._rule.exclude
        if region is None and exclude is None:
            return None
        mask = np.ones(self._map_size, bool)
        if region is not None:
            mask = self._union(listed(region), image_size)
        mask &= ~self._union(listed(exclude), image_size)
        if not mask.any():
            height, width = self._map_size
            without = "" if exclude is None else f" without exclude {areas_text(exclude)}"
            of_image = (
                "" if image_size is None else f" of an image of {image_size[0]}×{image_size[1]}"
            )
            raise InputError(
                f"region_of_interest is {areas_text(region) or 'the whole image'}{without}: it "
                f"holds no pixel of the anomaly map{of_image}, which has {height}×{width}; give a "
                "larger region."
            )
        return mask

    def _union(self, some: Sequence[Area], image_size: ImageSize | None) -> Mask:
        mask = np.zeros(self._map_size, bool)
        for area in some:
            if isinstance(area, MaskPicture):
                mask |= stretched(self._masks[area.file], self._map_size)
            else:
                mask |= inside(area, self._map_size, image_size)
        return mask


def inside(area: Polygon, map_size: ImageSize, image_size: ImageSize | None = None) -> Mask:
    """Pixels of a map whose centre lies in a polygon: that a ray to the left leaves it oddly often.

    Centres on a left or upper edge are inside, those on a right or lower edge are not.

    Args:
        area: the polygon.
        map_size: height and width of the map.
        image_size: likewise of the image, for a polygon in pixels.

    Returns:
        ``[h, w]``.
    """
    height, width = map_size
    y = (np.arange(height) + 0.5) / height  # [h]
    x = (np.arange(width) + 0.5) / width  # [w]
    corners = np.array(area.corners, np.float64)  # [n, 2]
    if area.in_pixels:
        assert image_size is not None
        corners = corners / (image_size[1], image_size[0])
    mask = np.zeros(map_size, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.flatnonzero((y >= y0) != (y >= y1))
        if not len(rows):
            continue
        crossing = x0 if x0 == x1 else x0 + (y[rows] - y0) * ((x1 - x0) / (y1 - y0))
        mask[rows] ^= x[None, :] >= np.reshape(crossing, (-1, 1))
    return mask


def least_pixels(area: float, image_size: ImageSize, map_size: ImageSize) -> int:
    """Pixels of the map that cover an area in pixels of the image, at least one."""
    share = (map_size[0] * map_size[1]) / (image_size[0] * image_size[1])
    rounding = 1e-9  # a whole number of pixels is often none in binary
    return max(1, math.ceil(area * share - rounding))


def masks_of(rule: VerdictRule, known: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """The masks of a rule's pictures, as a detector file holds them.

    Args:
        rule: with the names of the files.
        known: those that need not be read, by name.

    Returns:
        uint8 ``[H, W]`` each, 1 where the picture is above 0.

    Raises:
        InputError: a file cannot be read, or is 0 everywhere.
    """
    return tuple(known[name] if name in known else _read(name) for name in rule.masks)


def _read(name: str) -> Tensor:
    mask = read_picture_mask(Path(name).expanduser())
    if not mask.any():
        raise InputError(
            f"mask picture {name} is 0 everywhere: a picture that is above 0 in the area is "
            "expected; draw it."
        )
    return torch.from_numpy(mask.astype(np.uint8))


def stretched(mask: Mask, size: ImageSize) -> Mask:
    """A mask's value below each pixel's centre of a map.

    Args:
        mask: ``[H, W]``.
        size: height and width of the map.
    """
    rows, columns = (
        ((2 * np.arange(n) + 1) * length) // (2 * n)
        for n, length in zip(size, mask.shape, strict=True)
    )
    found: Mask = mask[rows[:, None], columns]
    return found


def _largest_part(mask: Mask | None, map_size: ImageSize) -> int:
    if mask is None:
        return map_size[0] * map_size[1]
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3), bool))
    return int(np.bincount(labels.ravel())[1:].max())
