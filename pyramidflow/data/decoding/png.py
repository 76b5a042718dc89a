"""PNG: up to 8 bits by Pillow, 16 bits by libpng, since Pillow drops the low bytes of colour."""

import struct
from typing import Any, BinaryIO

import imagecodecs
import numpy.typing as npt
from PIL import PngImagePlugin
from PIL.ExifTags import Base

from pyramidflow.data.decoding.common import (
    Decoded,
    Family,
    check_pixels,
    several_pages,
    split_alpha,
    upright,
)
from pyramidflow.data.decoding.pillow import decode_image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_BYTES = 25
_CHUNKS_WITH_ORIENTATION = {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}


def _decode(file: BinaryIO, max_pixels: int) -> Decoded:
    # After the signature and the first chunk's length and name: width, height and depth.
    width, height, bits = struct.unpack_from(">IIB", file.read(_HEADER_BYTES), 16)
    check_pixels(width, height, max_pixels)
    file.seek(0)
    with PngImagePlugin.PngImageFile(file) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise several_pages()
        if bits != 16:
            return decode_image(image, max_pixels)
        file.seek(0)
        data = file.read()
        pixels: npt.NDArray[Any] = imagecodecs.png_decode(data)  # [H, W(, 2 to 4)]
        colour, alpha = split_alpha(pixels)
        orientation = _orientation(image, data)
    return Decoded(
        upright(colour, orientation), None, None if alpha is None else upright(alpha, orientation)
    )


def _orientation(image: PngImagePlugin.PngImageFile, data: bytes) -> object:
    # Pillow decodes all pixels before it answers, in case the tag follows them.
    if _CHUNKS_WITH_ORIENTATION.isdisjoint(_chunk_names(data)):
        return None
    return image.getexif().get(Base.Orientation)


def _chunk_names(data: bytes) -> set[bytes]:
    names = set()
    position = len(_SIGNATURE)
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        names.add(data[position + 4 : position + 8])
        position += 12 + length
    return names


PNG = Family("PNG", (".png",), lambda head: head.startswith(_SIGNATURE), _decode)
