"""Formats of 8 bits that Pillow decodes in full: JPEG, BMP, WebP, GIF and TGA."""

import struct
from typing import BinaryIO

from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, TgaImagePlugin, WebPImagePlugin

from pyramidflow.data.decoding.common import (
    Decoded,
    Family,
    RefusedError,
    check_pixels,
    several_pages,
)
from pyramidflow.data.decoding.pillow import decode_image

_START_OF_SCAN = b"\xff\xda"
_MOST_SCANS = 100  # encoders write about ten

_TGA_KINDS = (1, 2, 3, 9, 10, 11)
_TGA_DEPTHS = (8, 15, 16, 24, 32)


def _decode_jpeg(file: BinaryIO, max_pixels: int) -> Decoded:
    # Of a phone's multi-picture JPEG the first picture is the main one.
    with JpegImagePlugin.jpeg_factory(file) as image:
        check_pixels(image.width, image.height, max_pixels)
        if image.info.get("progressive"):
            _check_scans(file)
        return decode_image(image, max_pixels, is_lossy=True)


def _check_scans(file: BinaryIO) -> None:
    # Each scan goes over all pixels: a thousand empty ones in a small file take minutes.
    position = file.tell()
    file.seek(0)
    scans = file.read().count(_START_OF_SCAN)
    file.seek(position)
    if scans > _MOST_SCANS:
        raise RefusedError(
            f"is a progressive JPEG of {scans} scans: at most {_MOST_SCANS} are expected; save it "
            "again."
        )


def _decode_bmp(file: BinaryIO, max_pixels: int) -> Decoded:
    with BmpImagePlugin.BmpImageFile(file) as image:
        return decode_image(image, max_pixels)


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


def _decode_gif(file: BinaryIO, max_pixels: int) -> Decoded:
    with GifImagePlugin.GifImageFile(file) as image:
        check_pixels(image.width, image.height, max_pixels)
        if image.is_animated:
            raise several_pages()
        return decode_image(image, max_pixels)


def _is_tga(head: bytes) -> bool:
    # The format has no signature: the fields of its header have few values each.
    return (
        len(head) > 17 and head[1] in (0, 1) and head[2] in _TGA_KINDS and head[16] in _TGA_DEPTHS
    )


def _decode_tga(file: BinaryIO, max_pixels: int) -> Decoded:
    with TgaImagePlugin.TgaImageFile(file) as image:
        return decode_image(image, max_pixels)


JPEG = Family(
    "JPEG",
    (".jpg", ".jpeg", ".jpe", ".jfif"),
    lambda head: head.startswith(b"\xff\xd8\xff"),
    _decode_jpeg,
)
BMP = Family("BMP", (".bmp",), lambda head: head.startswith(b"BM"), _decode_bmp)
WEBP = Family(
    "WebP",
    (".webp",),
    lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
    _decode_webp,
)
GIF = Family("GIF", (".gif",), lambda head: head.startswith((b"GIF87a", b"GIF89a")), _decode_gif)
TGA = Family("TGA", (".tga",), _is_tga, _decode_tga)
