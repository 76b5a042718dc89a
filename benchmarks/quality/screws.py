"""Screws drawn with scikit-image: in any pose, in changing light, with fine defects."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import draw, transform

from pyramidflow.alignment import Pose

FINER = 4
"""Pixels of a drawing along each pixel of its picture."""

DEFECTS = ("tip", "thread", "scratch")

Points = list[tuple[float, float]]
Picture = npt.NDArray[np.float64]


class Screw:
    """One drawing, lengths in widths of the picture from its centre.

    Args:
        size: side of the picture in pixels.
        pose: of the screw.
    """

    def __init__(self, size: int, pose: Pose) -> None:
        self._size, self._pose = size, pose
        self._ink: Picture = np.full((size * FINER, size * FINER), 0.85)
        self._mask: Picture = np.zeros_like(self._ink)

    def fill(self, points: Points, grey: float, is_defect: bool = False) -> None:
        """Fill a polygon; that of a defect is marked in the mask."""
        cos, sin = np.cos(np.radians(self._pose.angle)), np.sin(np.radians(self._pose.angle))
        turned = np.array(points) @ np.array([[cos, sin], [-sin, cos]])
        x, y = turned.T + np.array([[self._pose.x], [self._pose.y]])
        side = len(self._ink)
        at = draw.polygon((y + 0.5) * side - 0.5, (x + 0.5) * side - 0.5, self._ink.shape)
        self._ink[at] = grey
        if is_defect:
            self._mask[at] = 1

    def box(self, left: float, right: float, half: float, grey: float, **how: bool) -> None:
        """Fill a rectangle along the screw."""
        self.fill([(left, -half), (right, -half), (right, half), (left, half)], grey, **how)

    def finished(self) -> tuple[Picture, npt.NDArray[np.bool_]]:
        """Picture and mask, ``[size, size]``."""
        shape = (self._size, self._size)
        mask = transform.resize(self._mask, shape, anti_aliasing=True) > 0.3
        return transform.resize(self._ink, shape, anti_aliasing=True), mask


def screw(
    rng: np.random.Generator, size: int, pose: Pose, defect: str | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """A screw ``[size, size, 3]`` and the mask of its defect.

    Args:
        rng: draws light and noise.
        size: side in pixels.
        pose: of the screw.
        defect: one of :data:`DEFECTS`: a tip that is broken off, a thread that is missing, a bright
            scratch on the shaft.
    """
    drawing = Screw(size, pose)
    drawing.box(-0.36, -0.26, 0.09, 0.3)
    drawing.box(-0.36, -0.32, 0.015, 0.15)
    drawing.box(-0.26, -0.1, 0.045, 0.4)
    drawing.fill([(-0.1, -0.04), (0.28, -0.04), (0.36, 0), (0.28, 0.04), (-0.1, 0.04)], 0.35)
    for turn in range(10):
        start = -0.08 + 0.036 * turn
        thread = [(start, -0.055), (start + 0.012, -0.055), (start + 0.022, 0.055)]
        if defect == "thread" and turn == 5:
            drawing.fill([*thread, (start + 0.01, 0.055)], 0.85, is_defect=True)
            drawing.box(start - 0.01, start + 0.03, 0.04, 0.35)
        else:
            drawing.fill([*thread, (start + 0.01, 0.055)], 0.55)
    if defect == "tip":
        drawing.box(0.3, 0.37, 0.04, 0.85, is_defect=True)
    if defect == "scratch":
        points = [(-0.22, -0.01), (-0.14, 0.0), (-0.14, 0.008), (-0.22, -0.002)]
        drawing.fill(points, 0.75, is_defect=True)
    picture, mask = drawing.finished()
    across = np.linspace(-0.5, 0.5, size)
    vignette = 1 - 0.15 * (across[:, None] ** 2 + across**2)
    lit = picture * vignette * rng.uniform(0.85, 1.1) + rng.normal(0, 0.01, picture.shape)
    grey = (lit.clip(0, 1) * 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2), mask


def pose_of(rng: np.random.Generator) -> Pose:
    """Any angle, and up to a tenth of the width to each side."""
    x, y = rng.uniform(-0.1, 0.1, 2)
    return Pose(float(x), float(y), float(rng.uniform(-180, 180)))


def write_screws(root: Path, size: int, train: int, tests: int, seed: int = 0) -> Path:
    """Write a data set in the layout of MVTec AD.

    Args:
        root: folder of the category.
        size: side of the images in pixels.
        train: good images to train on.
        tests: good test images, and of each kind of defect.
        seed: of poses, light and noise.
    """
    rng = np.random.default_rng(seed)
    for index in range(train):
        _save(root / "train" / "good" / f"{index:03}.png", screw(rng, size, pose_of(rng))[0])
    for kind in (None, *DEFECTS):
        for index in range(tests):
            picture, mask = screw(rng, size, pose_of(rng), kind)
            _save(root / "test" / (kind or "good") / f"{index:03}.png", picture)
            if kind is not None:
                marked = 255 * mask.astype(np.uint8)
                _save(root / "ground_truth" / kind / f"{index:03}_mask.png", marked)
    return root


def _save(path: Path, pixels: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
