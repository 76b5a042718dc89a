"""TGA, by Pillow; a format without a signature."""

from typing import BinaryIO

from PIL import TgaImagePlugin

from pyramidflow.data.decoding.common import Decoded, Family
from pyramidflow.data.decoding.pillow import decode_image

_KINDS = (1, 2, 3, 9, 10, 11)
_DEPTHS = (8, 15, 16, 24, 32)


def _is_tga(head: bytes) -> bool:
    # The format has no signature: the fields of its header have few values each.
    return len(head) > 17 and head[1] in (0, 1) and head[2] in _KINDS and head[16] in _DEPTHS


def _decode_tga(file: BinaryIO, max_pixels: int) -> Decoded:
    with TgaImagePlugin.TgaImageFile(file) as image:
        return decode_image(image, max_pixels)


TGA = Family("TGA", (".tga",), _is_tga, _decode_tga, order=1000)
