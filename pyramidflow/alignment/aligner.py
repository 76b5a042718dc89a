"""From an image to the reference's pose, and from the map there back to the image."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.alignment.pose import (
    Map,
    Mask,
    Pose,
    carried,
    inside,
    sampled,
    sampled_at,
    to_float,
    to_pixels,
)
from pyramidflow.alignment.reference import Reference
from pyramidflow.alignment.search import Found, PoseSearch
from pyramidflow.spec.alignment import AlignmentRule

BORDER = 4
"""Pixels of the map beside what was filled in that do not count either: the network mixes both."""

LEAST_SHOWN = 0.25
"""Share of the good images that have to show a pixel: of others it is not known what is normal."""


@dataclass(frozen=True, eq=False)
class Placed:
    """An image in the reference's pose.

    Attributes:
        pixels: ``[h, w, 3]``; the image as it lies where no pose was found.
        found: the best pose, and its agreement.
        is_found: whether the agreement is enough.
    """

    pixels: npt.NDArray[Any]
    found: Found
    is_found: bool

    @property
    def pose(self) -> Pose:
        """That the pixels were taken from."""
        return self.found.pose if self.is_found else Pose()


class Aligner:
    """Brings images to the pose of a reference. Does not change: threads may share it.

    Args:
        reference: what poses are measured against.
        rule: how far parts may lie off.
    """

    def __init__(self, reference: Reference, rule: AlignmentRule) -> None:
        self.reference = reference
        self.rule = rule
        self._picture = reference.picture.cpu()  # [3, h, w]
        self._shown = reference.shown.cpu()[None]  # [1, h, w]
        self._ratio = reference.facts.ratio
        self._search = PoseSearch(self._picture, self._ratio, rule.largest_shift, rule.turns)

    def found_in(self, pixels: npt.NDArray[Any]) -> Found:
        """The pose of the part in an image ``[h, w, 3]``, of whatever agreement."""
        return self._search.find(to_float(pixels))

    def place(self, pixels: npt.NDArray[Any], found: Found | None = None) -> Placed:
        """Bring an image to the reference's pose.

        Args:
            pixels: ``[h, w, 3]`` at the reference's size, uint8 or uint16.
            found: its pose, where it is known.
        """
        found = self.found_in(pixels) if found is None else found
        is_found = self.reference.fits(found)
        if is_found:
            pixels = to_pixels(self._placed(to_float(pixels), found.pose), pixels.dtype)
        return Placed(pixels, found, is_found)

    def _placed(self, picture: Tensor, pose: Pose) -> Tensor:
        """The picture read at a pose; outside of it the reference goes on from the border.

        ``I(c(p(x))) + r(x) − r(p⁻¹(c(p(x))))``: ``c`` carries points outside of the picture to its
        border, so that nothing is added inside, and nothing jumps where the picture ends.
        """
        height, width = picture.shape[1:]
        grid = sampled_at(pose, (height, width), self._ratio)
        placed = sampled(picture, grid, "bicubic")
        if bool(inside(grid).all()):
            return placed
        ends = torch.tensor([1 - 1 / width, 1 - 1 / height])
        at_border = carried(grid.clamp(-ends, ends), pose.inverse, self._ratio)
        return placed + self._picture - sampled(self._picture, at_border)

    def seen(self, pose: Pose, size: tuple[int, int]) -> Mask:
        """Which pixels of a map in the reference's pose say something about the image.

        Those which the image shows, away from what was filled in, and enough good images, too.

        Args:
            pose: of the image.
            size: height and width of the map.

        Returns:
            ``[h, w]``.
        """
        is_inside = inside(sampled_at(pose, size, self._ratio))
        filled = torch.from_numpy(~is_inside).float()[None, None]
        around = functional.max_pool2d(filled, 2 * BORDER + 1, 1, BORDER)
        shown = functional.adaptive_avg_pool2d(self._shown, size)[0]
        mask: Mask = ((around[0, 0] == 0) & (shown >= LEAST_SHOWN)).numpy()
        return mask

    def back(self, anomaly_map: Map, pose: Pose) -> Map:
        """A map ``[h, w]`` in the reference's pose, as the image lies; 0 where it says nothing.

        The pixel at the map's maximum keeps its value, which interpolation would smooth away.
        """
        size = (anomaly_map.shape[0], anomaly_map.shape[1])
        grid = sampled_at(pose.inverse, size, self._ratio)
        turned: Map = sampled(torch.from_numpy(anomaly_map)[None], grid, padding="zeros")[0].numpy()
        row, column = divmod(int(anomaly_map.argmax()), size[1])
        peak = torch.tensor([(2 * column + 1) / size[1] - 1, (2 * row + 1) / size[0] - 1])
        x, y = carried(peak, pose, self._ratio).tolist()
        at = (
            min(max(int((y + 1) / 2 * size[0]), 0), size[0] - 1),
            min(max(int((x + 1) / 2 * size[1]), 0), size[1] - 1),
        )
        turned[at] = anomaly_map[row, column]
        return turned
