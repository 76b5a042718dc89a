"""BMP, by Pillow."""

from typing import BinaryIO

from PIL import BmpImagePlugin

from pyramidflow.data.decoding.common import Decoded, Family
from pyramidflow.data.decoding.pillow import decode_image


def _decode_bmp(file: BinaryIO, max_pixels: int) -> Decoded:
    with BmpImagePlugin.BmpImageFile(file) as image:
        return decode_image(image, max_pixels)


BMP = Family("BMP", (".bmp",), lambda head: head.startswith(b"BM"), _decode_bmp)
