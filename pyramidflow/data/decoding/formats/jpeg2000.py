"""JPEG 2000: 8 bits by Pillow, more by OpenJPEG directly, since Pillow drops bits of colour."""

import struct
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import numpy.typing as npt
from PIL import Jpeg2KImagePlugin

from pyramidflow.data.decoding.common import (
    Decoded,
    Family,
    RefusedError,
    check_pixels,
    split_alpha,
)
from pyramidflow.data.decoding.pillow import decode_image

_BOXES = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"
_SIGNED = 0x80


def _decode(file: BinaryIO, max_pixels: int) -> Decoded:
    data = file.read()
    start = data.find(_CODESTREAM)
    if start < 0:
        raise ValueError("no codestream")
    # After the two markers and the length and kind of the second: the image's far corner and near
    # corner on the reference grid, the tiles' size and place, and a byte of depth a channel.
    right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
    check_pixels(right - left, bottom - top, max_pixels)
    (channels,) = struct.unpack_from(">H", data, start + 40)
    depths = {data[start + 42 + 3 * channel] for channel in range(min(channels, 5))}
    if depths == {7} or not 1 <= channels <= 4:
        file.seek(0)
        with Jpeg2KImagePlugin.Jpeg2KImageFile(file) as image:
            return decode_image(image, max_pixels, is_lossy=True)
    (depth,) = depths if len(depths) == 1 else (_SIGNED,)
    if depth & _SIGNED or depth > 15:
        raise RefusedError(
            "is JPEG 2000 with channels of signed, different or more than 16 bits: 8 to 16 bits "
            "unsigned are expected; save it so, or as PNG."
        )
    pixels: npt.NDArray[Any] = imagecodecs.jpeg2k_decode(data)  # [H, W(, 2 to 4)]
    colour, alpha = split_alpha(pixels)
    white = (1 << (depth + 1)) - 1
    is_full = white == np.iinfo(pixels.dtype).max
    return Decoded(colour, None if is_full else white, alpha, is_lossy=True)


JPEG2000 = Family(
    "JPEG 2000",
    (".jp2", ".j2k"),
    lambda head: head.startswith((_BOXES, _CODESTREAM)),
    _decode,
)
