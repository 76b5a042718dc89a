"""Netpbm (PBM, PGM, PPM): up to 8 bits by Pillow, deep files by the format's own rules."""

import re
from typing import BinaryIO

import numpy as np
from PIL import PpmImagePlugin

from pyramidflow.data.decoding.common import (
    Decoded,
    Family,
    RefusedError,
    check_pixels,
    several_pages,
)
from pyramidflow.data.decoding.pillow import decode_image

_MAGIC = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
_MOST_HEADER_BYTES = 4096
_MOST_TEXT_PIXELS = 1_000_000  # Pillow reads a million in a second or two
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_NUMBER = rb"(\d{1,9})"
_SIZE = re.compile(rb"P[1-6]" + _GAP + _NUMBER + _GAP + _NUMBER + rb"\s")
_DEPTH = re.compile(
    rb"P[2356]" + _GAP + _NUMBER + _GAP + _NUMBER + _GAP + _NUMBER + rb"(?:#[^\r\n]*[\r\n]|\s)"
)


def _decode(file: BinaryIO, max_pixels: int) -> Decoded:
    head = file.read(_MOST_HEADER_BYTES)
    size = _SIZE.match(head)
    if size is None:
        raise ValueError("no width and height")
    width, height = int(size[1]), int(size[2])
    check_pixels(width, height, max_pixels)
    depth = _DEPTH.match(head)
    if head[1:2] in b"123" and width * height > _MOST_TEXT_PIXELS:
        raise RefusedError(
            f"is a text Netpbm file of {height}×{width} pixels: at most "
            f"{_MOST_TEXT_PIXELS / 1e6:g} megapixels as text are expected; save it binary."
        )
    largest = 255 if depth is None else int(depth[3])
    channels = 3 if head[1:2] in b"36" else 1
    if largest <= 255:
        decoded = _decode_shallow(file, max_pixels)
        raster = height * ((width + 7) // 8 if head[1:2] == b"4" else width * channels)
        start = size.end() if depth is None else depth.end()
    elif depth is None or head[1:2] not in b"56" or largest > 65535:
        raise RefusedError(
            f"is a text or damaged Netpbm file with the largest value {largest}: a binary one up "
            "to 65535 is expected; save it so, or as PNG."
        )
    else:
        start, raster = depth.end(), 2 * width * height * channels
        decoded = _decode_deep(file, start, raster, (height, width, channels), largest)
    if head[1:2] in b"456":
        file.seek(start + raster)
        if file.read(64).lstrip().startswith(_MAGIC):
            raise several_pages()
    return decoded


def _decode_shallow(file: BinaryIO, max_pixels: int) -> Decoded:
    file.seek(0)
    with PpmImagePlugin.PpmImageFile(file) as image:
        return decode_image(image, max_pixels)


def _decode_deep(
    file: BinaryIO, start: int, count: int, shape: tuple[int, int, int], largest: int
) -> Decoded:
    file.seek(start)
    data = file.read(count)
    if len(data) < count:
        raise ValueError(f"{len(data)} of {count} bytes of pixels")
    values = np.frombuffer(data, ">u2").reshape(shape)  # [H, W, 1 or 3]
    return Decoded(values, largest)


NETPBM = Family(
    "Netpbm",
    (".pbm", ".pgm", ".ppm", ".pnm"),
    lambda head: head.startswith(_MAGIC) and head[2:3].isspace(),
    _decode,
)
