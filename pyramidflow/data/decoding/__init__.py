"""Decoding of image files; ``formats`` has a file for each family of formats."""

from pyramidflow.data.decoding.common import (
    DEFAULT_DECODING,
    MAX_PIXELS,
    Decoded,
    Decoding,
    RefusedError,
    to_pixels,
)
from pyramidflow.data.decoding.files import (
    FAMILIES,
    IMAGE_SUFFIXES,
    decode_bytes,
    decode_file,
    naming,
)
from pyramidflow.data.decoding.pillow import decode_image

__all__ = [
    "DEFAULT_DECODING",
    "FAMILIES",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Decoded",
    "Decoding",
    "RefusedError",
    "decode_bytes",
    "decode_file",
    "decode_image",
    "naming",
    "to_pixels",
]
