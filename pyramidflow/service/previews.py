"""Small pictures of a part for a page: as it is, and with its heat map."""

import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from pyramidflow.data import Pixels, to_uint8
from pyramidflow.detector import Inspection
from pyramidflow.detector.overlay import Marks, overlay
from pyramidflow.io.pictures import png

LONGEST_SIDE: Final = 640
"""Pixels."""

_QUALITY: Final = 85


def previews(pixels: Pixels, inspection: Inspection, scale: float) -> dict[str, bytes]:
    """Draw a part small.

    Args:
        pixels: ``[H, W, 3]``, uint8 or uint16.
        inspection: what was found.
        scale: anomaly value at the top of the colour scale.

    Returns:
        JPEG files: ``plain`` and ``heat``.
    """
    step = max(1, -(-max(pixels.shape[:2]) // LONGEST_SIDE))
    plain = np.asarray(Image.fromarray(to_uint8(pixels)).reduce(step))
    small = _peaks(inspection.anomaly_map, step)
    return {
        "plain": _jpeg(plain),
        "heat": _jpeg(overlay(plain, small, scale, Marks.of(inspection, step))),
    }


def full_overlay(pixels: Pixels, inspection: Inspection, scale: float) -> bytes:
    """The heat map on the part, in the picture's own resolution, as PNG."""
    return png(overlay(to_uint8(pixels), inspection.anomaly_map, scale, Marks.of(inspection)))


def _peaks(values: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    """The largest value of each square: a small defect must not fade where its picture shrinks."""
    height, width = values.shape
    rows, columns = -(-height // step), -(-width // step)
    padded = np.pad(values, ((0, rows * step - height), (0, columns * step - width)), mode="edge")
    return np.ascontiguousarray(padded.reshape(rows, step, columns, step).max(axis=(1, 3)))


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, format="JPEG", quality=_QUALITY)
    return data.getvalue()
