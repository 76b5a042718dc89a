"""Defects drawn into good images, to choose settings by without a single real defect.

Six kinds that real parts have. Each is drawn into the picture as it is, before any resizing, with
sizes that follow the part's and strengths that follow its tones: from hardly visible to plain, so
that detectors that differ find different shares of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from pyramidflow.data import Pixels
from pyramidflow.tuning import shapes
from pyramidflow.tuning.scene import BoolArray, FloatArray, Place, Scene

VISIBLE = 0.02
"""Least change of the pixels of a defect, as a share of the part's range of tones."""

ATTEMPTS = 12
"""A defect may fall beside the part, or be a copy of what it covers: it is drawn again."""


@dataclass(frozen=True, eq=False)
class Defective:
    """A good image with one defect.

    Attributes:
        pixels: ``[H, W, 3]`` of the image's type; equal to the image outside of the mask.
        mask: true on the defect, bool ``[H, W]``.
        kind: one of :data:`KINDS`.
    """

    pixels: Pixels
    mask: BoolArray
    kind: str


@dataclass(frozen=True, eq=False)
class _Layer:
    """What is laid over the image at a place: ``content`` where ``cover`` is 1."""

    place: Place
    cover: FloatArray  # [h, w]
    content: FloatArray  # [h, w, 3]


def draw_defect(
    scene: Scene, other: Scene, kind: str, rng: np.random.Generator, least: float = 1
) -> Defective:
    """Draw one defect into a good image.

    ``image + cover · (content − image)`` on the part where defects count; what changes by too
    little to be seen is put back, so that the mask is the truth.

    Args:
        scene: the good image.
        other: a good image that pieces are taken from, another or the same; of the same type.
        kind: one of :data:`KINDS`.
        rng: draws everything.
        least: pixels that a defect has.

    Source:
        CutPaste (Li et al., CVPR 2021) for the pasted piece, DRAEM (Zavrtanik et al., ICCV 2021)
        for the blended texture.
    """
    for _ in range(ATTEMPTS):
        drawn = _laid(scene, _PAINTERS[kind](scene, other, rng), kind)
        if drawn is not None and drawn.mask.sum() >= least:
            return drawn
    return _certain(scene, rng, least)


def _laid(scene: Scene, layer: _Layer, kind: str) -> Defective | None:
    """The image below a layer; ``None`` where nothing of it can be seen."""
    place = layer.place
    image = scene.crop(place)
    cover = layer.cover * scene.part(place)
    blended = image + cover[..., None] * (layer.content - image)
    whites = np.iinfo(scene.pixels.dtype).max
    changed = np.clip(np.rint(blended), 0, whites).astype(scene.pixels.dtype)
    difference = np.abs(changed.astype(np.float32) - image).max(2)  # [h, w]
    # Of a texture laid over another, single pixels are equal by chance: the mask is not riddled.
    near = ndimage.uniform_filter(difference, 3, mode="nearest")
    shown = np.maximum(difference, near) >= max(VISIBLE * scene.range, 1)
    seen = shown & (cover > 0.05)
    if not seen.any():
        return None
    pixels, mask = scene.pixels.copy(), np.zeros(scene.size, dtype=bool)
    pixels[place] = np.where(seen[..., None], changed, scene.pixels[place])
    mask[place] = seen
    return Defective(pixels, mask, kind)


def _certain(scene: Scene, rng: np.random.Generator, least: float) -> Defective:
    """A spot in the tone that is farthest from what is there: it is seen on any image."""
    side = max(3, math.ceil(math.sqrt(least)))
    cover = _fitting(np.ones((side, side), np.float32), scene)
    place = scene.place(cover.shape, rng)
    bright = min(scene.tones[1], float(np.iinfo(scene.pixels.dtype).max))
    tone = 0.0 if scene.crop(place).mean() > bright / 2 else bright
    pixels, mask = scene.pixels.copy(), np.zeros(scene.size, dtype=bool)
    pixels[place], mask[place] = round(tone), True
    return Defective(pixels, mask, "hole")


def _crack(scene: Scene, _: Scene, rng: np.random.Generator) -> _Layer:
    """A crack or a scratch: from a pixel's width to a fiftieth of the part's."""
    length = scene.side * rng.uniform(0.1, 0.5)
    width = max(1.0, scene.side * _between(0.004, 0.025, rng))
    cover = _fitting(shapes.crack(length, width, rng), scene)
    return _toned(scene, cover, rng.uniform(0.15, 1.2) * (1 if rng.random() < 0.3 else -1), rng)


def _stain(scene: Scene, _: Scene, rng: np.random.Generator) -> _Layer:
    """A spot without an edge, a little darker or lighter."""
    radius = scene.side * rng.uniform(0.05, 0.16)
    cover = shapes.cloud(radius, rng.uniform(0.4, 0.9), rng)
    mottled = 1 + 0.2 * shapes.smooth_noise(cover.shape, max(1.0, radius / 4), rng)
    strength = _between(0.1, 0.7, rng) * (1 if rng.random() < 0.35 else -1)
    return _toned(scene, _fitting(np.clip(cover * mottled, 0, 1), scene), strength, rng)


def _hole(scene: Scene, _: Scene, rng: np.random.Generator) -> _Layer:
    """A pit or a broken-out piece: dark, with sharp edges."""
    cover = _fitting(shapes.chip(max(1.5, scene.side * _between(0.012, 0.06, rng)), rng), scene)
    place = scene.place(cover.shape, rng)
    image = scene.crop(place)
    grain = 0.03 * scene.range * rng.normal(size=cover.shape)[..., None]
    # A pit is darker than anything on the part that light falls on.
    floor = scene.tones[0] * rng.uniform(0, 1) + 0.1 * (image - scene.tones[0]) + grain
    return _Layer(place, rng.uniform(0.3, 1.0) * cover, floor.astype(np.float32))


def _patch(scene: Scene, other: Scene, rng: np.random.Generator) -> _Layer:
    """A piece of a good image in a wrong place: CutPaste."""
    height, width = scene.side * np.array([_between(0.05, 0.25, rng) for _ in range(2)])
    cover = _fitting(shapes.rectangle(max(2.0, height), max(2.0, width), rng), scene)
    place = scene.place(cover.shape, rng)
    content = other.piece(cover.shape, rng)
    return _Layer(place, rng.uniform(0.7, 1.0) * cover, content)


def _dent(scene: Scene, _: Scene, rng: np.random.Generator) -> _Layer:
    """A deformed place: its pixels are pushed aside, and turned."""
    radius = scene.side * rng.uniform(0.05, 0.14)
    side = 2 * max(2, round(radius))
    cover = _fitting(np.ones((side, side), np.float32), scene)
    place = scene.place(cover.shape, rng)
    image = scene.crop(place)
    rows, columns = np.indices(cover.shape, dtype=np.float32)
    centre = (np.array(cover.shape) - 1) / 2
    y, x = rows - centre[0], columns - centre[1]
    inside = np.clip(1 - (y / (centre[0] + 1)) ** 2 - (x / (centre[1] + 1)) ** 2, 0, 1) ** 1.5
    push = radius * rng.uniform(0.15, 0.6) * rng.choice([-1, 1], 2)
    turn = rng.uniform(-1.5, 1.5)
    moved = (rows + inside * (push[0] - turn * x), columns + inside * (push[1] + turn * y))
    content = np.stack(
        [
            ndimage.map_coordinates(image[..., c], moved, order=1, mode="nearest")
            for c in range(image.shape[2])
        ],
        axis=2,
    )
    return _Layer(place, cover, content)


def _blend(scene: Scene, other: Scene, rng: np.random.Generator) -> _Layer:
    """Another texture that shows through where noise is high: DRAEM."""
    radius = scene.side * rng.uniform(0.06, 0.16)
    cover = shapes.cloud(radius, 0.3, rng)
    grain = shapes.smooth_noise(cover.shape, max(1.0, radius * rng.uniform(0.1, 0.4)), rng)
    cover = _fitting(cover * np.clip(4 * grain, 0, 1), scene)
    place = scene.place(cover.shape, rng)
    content = other.piece(cover.shape, rng)
    tone = 0.5 * scene.range * rng.uniform(-1, 1)
    return _Layer(place, _between(0.4, 1.0, rng) * cover, content + np.float32(tone))


_PAINTERS: Final[dict[str, Callable[[Scene, Scene, np.random.Generator], _Layer]]] = {
    "crack": _crack,
    "stain": _stain,
    "hole": _hole,
    "patch": _patch,
    "dent": _dent,
    "blend": _blend,
}

KINDS: Final = tuple(_PAINTERS)


def _toned(scene: Scene, cover: FloatArray, strength: float, rng: np.random.Generator) -> _Layer:
    """The image made lighter or darker below a shape, in colour with a tint."""
    tint = np.ones(3) if scene.is_grey else 1 + rng.normal(0, 0.2, 3)
    place = scene.place(cover.shape, rng)
    change = (strength * scene.range * tint).astype(np.float32)
    return _Layer(place, cover, scene.crop(place) + change)


def _fitting(cover: npt.NDArray[Any], scene: Scene) -> FloatArray:
    """The middle of a shape, where it is larger than the image."""
    rows, columns = (
        slice((n - min(n, full)) // 2, (n - min(n, full)) // 2 + min(n, full))
        for n, full in zip(cover.shape, scene.size, strict=True)
    )
    found: FloatArray = cover[rows, columns].astype(np.float32)
    return found


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    """Between two numbers, each doubling as likely as another."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
