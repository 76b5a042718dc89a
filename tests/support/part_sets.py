"""Sets of small parts with defects that are a little brighter."""

import numpy as np
from PIL import Image

from pyramidflow import Detector
from tests.support.tiny import TINY

SIZE = 32
"""Side of the images, in pixels."""


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def write_set(root, part):
    """``part(rng)`` gives a good part; defects are small squares, a little brighter."""
    rng = np.random.default_rng(0)
    for i in range(24):
        save(root / "train" / "good" / f"{i:02}.png", part(rng))
    for i in range(12):
        save(root / "test" / "good" / f"{i:02}.png", part(rng))
        row, column = rng.integers(4, 24), rng.integers(4, 10)
        place = (slice(row, row + 4), slice(column, column + 4))
        pixels, mask = part(rng), np.zeros((SIZE, SIZE))
        pixels[place] += 30
        mask[place] = 255
        save(root / "test" / "dent" / f"{i:02}.png", pixels)
        save(root / "ground_truth" / "dent" / f"{i:02}_mask.png", mask)
    return root


def scattered_squares(rng):
    """A part for :func:`write_set`: squares that lie anyhow on a plain ground."""
    pixels = np.full((SIZE, SIZE, 3), 100.0)
    for _ in range(3):
        row, column = rng.integers(0, SIZE - 8, 2)
        pixels[row : row + 8, column : column + 8] = 160
    return pixels + rng.normal(0, 2, pixels.shape)


def ramp(size=(SIZE, SIZE)):
    """A picture that grows brighter from left to right."""
    return np.linspace(70, 130, size[1])[None, :, None] + np.zeros((*size, 3))


def in_changing_light(rng):
    """A part for :func:`write_set` that is as bright as the light of the moment."""
    return ramp() + rng.uniform(-50, 50) + rng.normal(0, 3, (SIZE, SIZE, 3))


def with_uneven_noise(rng):
    """A part for :func:`write_set` with a calm and a restless half."""
    deviation = np.where(np.arange(SIZE) < 16, 3, 25)[None, :, None]
    return ramp() + deviation * rng.normal(size=(SIZE, SIZE, 3))


def fitted(root, **settings):
    """A tiny detector of the parts, trained for one epoch."""
    detector = Detector(SIZE, **TINY, volume_norm="svn", validation_share=0.25, **settings)
    return detector.fit(root, epochs=1, show_progress=False)
