"""Pillow images, from files of the formats that Pillow decodes in full and from users."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base

from pyramidflow.data.decoding.common import (
    Decoded,
    RefusedError,
    check_pixels,
    split_alpha,
    upright,
)

_PHOTOMETRIC_MIN_IS_WHITE = 0
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_LIKE_RGB = ("CMYK", "YCbCr", "HSV", "RGBX")


def decode_image(image: Image.Image, max_pixels: int, is_lossy: bool = False) -> Decoded:
    """Bring a Pillow image of any mode to the form that all files have.

    Args:
        image: opened or made; it is loaded but not changed.
        max_pixels: the most pixels, compared before it is loaded.
        is_lossy: whether it comes from a format that may have changed values.

    Raises:
        RefusedError: too many pixels, or a mode that is neither grey nor colour.
    """
    check_pixels(image.width, image.height, max_pixels)
    _load(image)
    # Pillow turns TIFFs upright while it loads them, and then says so here.
    orientation = image.getexif().get(Base.Orientation)
    values, white, index = _values(image)
    colour, alpha = split_alpha(values)
    return Decoded(
        upright(colour, orientation),
        white,
        None if alpha is None else upright(alpha, orientation),
        None if index is None else upright(index, orientation),
        is_lossy,
    )


def _load(image: Image.Image) -> None:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        image.load()
        return
    # With a name, Pillow maps uncompressed TIFFs into memory and scrambles those whose orientation
    # exchanges rows and columns.
    name, image.filename = image.filename, ""
    try:
        image.load()
    finally:
        image.filename = name


def _values(
    image: Image.Image,
) -> tuple[npt.NDArray[Any], int | None, npt.NDArray[Any] | None]:
    """Return ``[H, W(, 1 to 4)]`` with alpha last, the white level, and the palette's numbers."""
    mode = image.mode
    if mode in ("L", "LA", "RGB", "RGBA"):
        return np.asarray(image), 255, None
    if mode == "1":
        return np.asarray(image.convert("L")), 255, None
    if mode in ("P", "PA"):
        return _paletted(image)
    if mode in _DEEP_MODES:
        return _deep(image)
    if mode == "I":
        return _from_32_bits(image), None, None
    if mode == "F":
        return np.asarray(image), None, None
    if mode in ("La", "RGBa"):
        return np.asarray(image.convert({"La": "LA", "RGBa": "RGBA"}[mode])), 255, None
    if mode in _LIKE_RGB:
        return np.asarray(image.convert("RGB")), 255, None
    raise RefusedError(
        f"has the Pillow mode {mode!r}: grey or colour is expected; convert it to L or RGB."
    )


def _paletted(
    image: Image.Image,
) -> tuple[npt.NDArray[Any], int | None, npt.NDArray[Any] | None]:
    numbers, alpha = split_alpha(np.asarray(image))  # [H, W, 1], [H, W]
    if "transparency" in image.info:
        # With it Pillow warns, or mixes the colours with a background.
        image = image.copy()
        del image.info["transparency"]
    values = np.asarray(image.convert("RGB"))  # [H, W, 3]
    if alpha is not None:
        values = np.concatenate([values, alpha[..., None]], axis=2)  # [H, W, 4]
    return values, 255, numbers[..., 0]


def _deep(image: Image.Image) -> tuple[npt.NDArray[Any], int | None, None]:
    values = np.asarray(image)  # [H, W]
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return values, None, None
    bits = max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,)))
    white = (1 << bits) - 1
    # Pillow turns this polarity around for 8 bits but not for 16.
    photometric = image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
    if photometric == _PHOTOMETRIC_MIN_IS_WHITE:
        values = np.uint16(white) - values
    return values, white if bits < 16 else None, None


def _from_32_bits(image: Image.Image) -> npt.NDArray[np.uint16]:
    # Pillow has held 16-bit grey in this mode since before it had modes of 16 bits. Of a TIFF it
    # means signed or 32-bit integers.
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        raise RefusedError(
            "holds signed or 32-bit values, which name no white level: 8 or 16 bits unsigned, or "
            "float in [0, 1], are expected; save it so."
        )
    values = np.asarray(image)  # [H, W]
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise RefusedError(
            f"holds values from {low} to {high} in the Pillow mode 'I': 0 to 65535 is expected; "
            "scale it to 16 bits."
        )
    return values.astype(np.uint16)
