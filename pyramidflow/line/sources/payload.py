"""What a frame may hold, of what users have in hand."""

import os
from pathlib import Path

import numpy as np

from pyramidflow.data import Image, Pixels, as_pixels


def payload_of(image: "Image | bytes") -> Path | bytes | Pixels:
    """A frame's payload: a path, a file's bytes, or pixels.

    Args:
        image: a path, the bytes of an image file, an array, or a Pillow image.

    Raises:
        InputError: it is none of them.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | os.PathLike):
        return Path(image)
    return np.array(as_pixels(image))  # the caller may use its memory again at once
