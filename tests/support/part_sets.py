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


def fitted_to_scattered(root, **settings):
    """A tiny detector of parts that lie anyhow, trained for one epoch."""
    detector = Detector(32, **TINY, volume_norm="svn", validation_share=0.25, **settings)
    return detector.fit(root, epochs=1, show_progress=False)
