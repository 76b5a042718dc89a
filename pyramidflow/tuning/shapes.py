"""Shapes of defects: how much of each pixel they cover, from 0 to 1."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from pyramidflow.tuning.scene import FloatArray

_Points = npt.NDArray[np.float64]

FINER = 4
"""Pixels of the canvas for one of the shape, along each axis."""

MARGIN = 2
"""Pixels around a shape."""


def crack(length: float, width: float, rng: np.random.Generator) -> FloatArray:
    """A thin line that wanders and thins out towards its ends; some have a branch.

    Args:
        length: along the line, in pixels.
        width: in its middle, in pixels.
        rng: draws its way.
    """
    bend = rng.uniform(0.05, 0.35)
    trunk = _walk(np.zeros(2), rng.uniform(0, math.tau), length, bend, rng)
    paths = [trunk]
    if rng.random() < 0.3:
        fork = int(rng.integers(len(trunk) // 4, 3 * len(trunk) // 4))
        ahead = trunk[fork + 1] - trunk[fork]
        angle = math.atan2(ahead[0], ahead[1]) + rng.choice([-1, 1]) * rng.uniform(0.4, 1.1)
        paths.append(_walk(trunk[fork], angle, length * rng.uniform(0.2, 0.5), bend, rng))
    points = np.concatenate(paths)
    start = points.min(0) - width - MARGIN
    size = np.ceil(points.max(0) - start + width + MARGIN).astype(int)
    canvas = Image.new("L", (int(size[1]) * FINER, int(size[0]) * FINER))
    pen = ImageDraw.Draw(canvas)
    for path in paths:
        thickness = (
            width
            * FINER
            * np.interp(np.linspace(0, 1, len(path) - 1), (0, 0.3, 0.7, 1), (0.4, 1, 1, 0.4))
        )
        corners = [(float(x) * FINER, float(y) * FINER) for y, x in path - start]
        for a, b, wide in zip(corners, corners[1:], thickness, strict=False):
            pen.line((a, b), fill=255, width=max(1, round(float(wide))))
    return _reduced(canvas, (int(size[0]), int(size[1])))


def _walk(
    start: _Points, angle: float, length: float, bend: float, rng: np.random.Generator
) -> _Points:
    """Points ``[n, 2]`` (row, column) of a random walk whose direction changes little by little."""
    steps = max(8, round(length / 4))
    angles = angle + np.cumsum(rng.normal(0, bend, steps) * math.sqrt(8 / steps))
    moves = length / steps * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    points: _Points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    return points


def chip(radius: float, rng: np.random.Generator) -> FloatArray:
    """A broken-out piece: a polygon with sharp edges.

    Args:
        radius: in pixels.
        rng: draws its corners.
    """
    corners = int(rng.integers(6, 12))
    angles = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * (math.tau / corners)
    radii = radius * rng.uniform(0.55, 1.0, corners)
    turn, flat = rng.uniform(0, math.pi), rng.uniform(0.45, 1.0)
    x, y = radii * np.cos(angles), flat * radii * np.sin(angles)
    side = 2 * math.ceil(radius) + 2 * MARGIN
    points = [
        (
            float(side / 2 + a * math.cos(turn) - b * math.sin(turn)) * FINER,
            float(side / 2 + a * math.sin(turn) + b * math.cos(turn)) * FINER,
        )
        for a, b in zip(x, y, strict=True)
    ]
    canvas = Image.new("L", (side * FINER, side * FINER))
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    return _reduced(canvas, (side, side))


def cloud(radius: float, softness: float, rng: np.random.Generator) -> FloatArray:
    """A blob with an irregular outline, soft at its border.

    Args:
        radius: about, in pixels.
        softness: width of the border, as a share of the radius.
        rng: draws the outline.
    """
    side = 2 * math.ceil(1.6 * radius) + 2 * MARGIN
    flat = rng.uniform(0.5, 1.0)
    rows, columns = np.indices((side, side)) - (side - 1) / 2
    turn = rng.uniform(0, math.pi)
    along = rows * math.cos(turn) + columns * math.sin(turn)
    across = (columns * math.cos(turn) - rows * math.sin(turn)) / flat
    wobble = 0.35 * smooth_noise((side, side), radius / 2, rng)
    inside = 1 - np.hypot(along, across) / radius + wobble
    ramp = np.clip(inside / max(softness, 1 / radius), 0, 1)
    rim = np.minimum(rows + (side - 1) / 2, columns + (side - 1) / 2)
    rim = np.minimum(rim, np.minimum(rim[::-1], rim[:, ::-1]))
    smooth: FloatArray = (ramp * ramp * (3 - 2 * ramp) * np.clip(rim / MARGIN, 0, 1)).astype(
        np.float32
    )
    return smooth


def rectangle(height: float, width: float, rng: np.random.Generator) -> FloatArray:
    """A rectangle, turned a little.

    Args:
        height: in pixels.
        width: in pixels.
        rng: draws the angle.
    """
    turn = rng.uniform(-0.6, 0.6)
    side = math.ceil(math.hypot(height, width)) + 2 * MARGIN
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * (height / 2, width / 2)
    turned = corners @ [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    points = [(float(side / 2 + x) * FINER, float(side / 2 + y) * FINER) for y, x in turned]
    canvas = Image.new("L", (side * FINER, side * FINER))
    ImageDraw.Draw(canvas).polygon(points, fill=255)
    return _reduced(canvas, (side, side))


def smooth_noise(size: tuple[int, int], grain: float, rng: np.random.Generator) -> FloatArray:
    """Gaussian noise of deviation 1, smoothed to a grain in pixels."""
    noise: FloatArray = ndimage.gaussian_filter(
        rng.normal(size=size).astype(np.float32), grain, mode="reflect"
    )
    noise /= np.float32(max(float(noise.std()), 1e-6))
    return noise


def _reduced(canvas: Image.Image, size: tuple[int, int]) -> FloatArray:
    reduced = canvas.resize((size[1], size[0]), Image.Resampling.BOX)
    cover: FloatArray = np.asarray(reduced, dtype=np.float32) / np.float32(255)
    return cover
