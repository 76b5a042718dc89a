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
    names = _chunk_names(file)
    file.seek(0)
    with PngImagePlugin.PngImageFile(file) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise several_pages()
        if bits != 16:
            return decode_image(image, max_pixels)
        # Pillow decodes all pixels before it answers, in case the tag follows them.
        has_tag = not _CHUNKS_WITH_ORIENTATION.isdisjoint(names)
        orientation = image.getexif().get(Base.Orientation) if has_tag else None
        file.seek(0)
        pixels: npt.NDArray[Any] = imagecodecs.png_decode(file.read())  # [H, W(, 2 to 4)]
    colour, alpha = split_alpha(pixels)
    return Decoded(
        upright(colour, orientation), None, None if alpha is None else upright(alpha, orientation)
    )


def _chunk_names(file: BinaryIO) -> set[bytes]:
    """Walk to the last chunk, since no decoder misses the end of a file whose pixels are there."""
    names: set[bytes] = set()
    position = len(_SIGNATURE)
    while b"IEND" not in names:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("its end is missing")
        length, name = struct.unpack(">I4s", head)
        names.add(name)
        position += 12 + length
    return names


PNG = Family("PNG", (".png",), lambda head: head.startswith(_SIGNATURE), _decode)
