"""WebP, by Pillow."""

import struct
from typing import BinaryIO

from PIL import WebPImagePlugin

from pyramidflow.data.decoding.common import Decoded, Family, several_pages
from pyramidflow.data.decoding.pillow import decode_image


def _decode_webp(file: BinaryIO, max_pixels: int) -> Decoded:
    is_lossy = _is_lossy_webp(file)
    file.seek(0)
    with WebPImagePlugin.WebPImageFile(file) as image:
        if image.n_frames > 1:
            raise several_pages()
        return decode_image(image, max_pixels, is_lossy)


def _is_lossy_webp(file: BinaryIO) -> bool:
    position = 12
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or head[:4] == b"VP8L":
            return False
        if head[:4] in (b"VP8 ", b"ANMF"):
            return True
        (length,) = struct.unpack("<I", head[4:])
        position += 8 + length + length % 2


WEBP = Family(
    "WebP",
    (".webp",),
    lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
    _decode_webp,
)
