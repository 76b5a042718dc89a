"""JPEG, by Pillow; of a phone's multi-picture file the main picture."""

from typing import BinaryIO

from PIL import JpegImagePlugin

from pyramidflow.data.decoding.common import Decoded, Family, RefusedError, check_pixels
from pyramidflow.data.decoding.pillow import decode_image

_START_OF_SCAN = b"\xff\xda"
_MOST_SCANS = 100  # encoders write about ten


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


JPEG = Family(
    "JPEG",
    (".jpg", ".jpeg", ".jpe", ".jfif"),
    lambda head: head.startswith(b"\xff\xd8\xff"),
    _decode_jpeg,
)
