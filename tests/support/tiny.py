"""The smallest network and the smallest images that tests train and inspect with."""

import numpy as np
from PIL import Image

TINY = {"channels": 4, "levels": 2, "stacks": 1, "kernel_size": 3}
"""Settings of a network."""


def write_image(path, rng, size=(24, 24), defect=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(60, 160, size[1])[None, :, None] + np.zeros((*size, 3))
    pixels = ramp + rng.normal(0, 6, (*size, 3))
    if defect:
        pixels[8:14, 8:14] = 255
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
