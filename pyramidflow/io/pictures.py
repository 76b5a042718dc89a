"""Pictures and maps as files: what an inspection writes."""

import io
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pyramidflow.io.files import write_atomically

_COMPRESSION: Final = 1
"""Least level: what a line writes all day has to be quick first."""


def png(picture: npt.NDArray[np.uint8]) -> bytes:
    """Encode a picture ``[H, W, 3]`` as PNG.

    Differences from the line above alone take half of the time of Pillow, which tries five filters
    for each line, and the same room.
    """
    import imagecodecs

    data: bytes | bytearray = imagecodecs.png_encode(
        np.ascontiguousarray(picture),
        level=_COMPRESSION,
        filter=imagecodecs.PNG.FILTER.UP,
    )
    return bytes(data)


def write_png(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write a picture ``[H, W, 3]`` as PNG, atomically.

    Raises:
        InputError: the file cannot be written.
    """
    data = png(picture)
    write_atomically(path, lambda file: file.write(data))


def float_tiff(pixels: npt.NDArray[np.float32]) -> bytes:
    """Encode a map ``[H, W]`` as a float32 TIFF."""
    import tifffile

    data = io.BytesIO()
    tifffile.imwrite(data, pixels.astype(np.float32), photometric="minisblack")
    return data.getvalue()
