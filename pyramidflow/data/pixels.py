"""Images in memory, in the forms that users hold them."""

import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pyramidflow.data.images import read_image
from pyramidflow.errors import InputError

Pixels: TypeAlias = npt.NDArray[Any]
"""``[H, W, 3]``, uint8 or uint16."""

Image: TypeAlias = "str | os.PathLike[str] | Pixels | Any"
"""A path, an array ``[H, W, 3]`` or ``[H, W]`` of uint8 or uint16, or a Pillow image."""


def as_pixels(image: Image, white_level: int | None = None) -> Pixels:
    """Bring an image of any accepted form to ``[H, W, 3]``.

    Args:
        image: a path, an array ``[H, W, 3]`` or ``[H, W]`` of uint8 or uint16, or a Pillow image.
        white_level: value that stands for white in images of 16 bits.

    Returns:
        ``[H, W, 3]``, uint8 or uint16.

    Raises:
        InputError: the file cannot be read, or the array has another shape or type.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if hasattr(image, "convert"):  # a Pillow image
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)  # [H, W, 3]
    if (
        pixels.ndim != 3
        or pixels.shape[2] != 3
        or 0 in pixels.shape
        or pixels.dtype not in (np.uint8, np.uint16)
    ):
        raise InputError(
            f"the image has shape {list(pixels.shape)} and type {pixels.dtype}: give [H, W, 3] or "
            "[H, W] of uint8 or uint16."
        )
    return pixels
