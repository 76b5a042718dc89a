"""Sets of small parts with defects that are a little brighter."""

import numpy as np
from PIL import Image

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
