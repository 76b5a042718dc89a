"""Images of any form - files, arrays, Pillow images - brought to one form of pixels."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from pyramidflow.data.decoding import (
    DEFAULT_DECODING,
    Decoded,
    Decoding,
    RefusedError,
    decode_bytes,
    decode_file,
    decode_image,
    naming,
    to_pixels,
)
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable

Pixels: TypeAlias = npt.NDArray[Any]
"""``[H, W, 3]`` in the order red, green, blue, uint8 or uint16."""

Image: TypeAlias = "str | os.PathLike[str] | Pixels | PillowImage.Image"
"""A path, an array ``[H, W, 3]``, ``[H, W, 1]`` or ``[H, W]`` of uint8 or uint16 with colour in the
order red, green, blue, or a Pillow image."""


def as_pixels(image: Image, decoding: Decoding = DEFAULT_DECODING) -> Pixels:
    """Bring an image of any accepted form to the pixels that the package works with.

    A file gives the same pixels by its path and as the Pillow image opened from it: upright,
    without alpha, 16 bits where the file has them. What Pillow itself has lost by then stays lost,
    so two kinds of files are better given by path: of 16-bit *colour* it drops the low bits, and it
    scrambles an uncompressed TIFF that is stored on its side, if it is loaded before it comes here.

    Colour is in the order red, green, blue. OpenCV reads blue first, which nothing in an array
    tells: turn it around by ``image[:, :, ::-1]``::

        frame = cv2.imread("part.png")       # blue, green, red
        detector.inspect(frame[:, :, ::-1])  # red, green, blue

    Args:
        image: a path, an array ``[H, W, 3]``, ``[H, W, 1]`` or ``[H, W]`` of uint8 or uint16, or a
            Pillow image of any grey or coloured mode.
        decoding: white level of 16-bit values, and the most pixels.

    Returns:
        ``[H, W, 3]``, uint8 or uint16. An array of that form is returned as it is, not copied.

    Raises:
        InputError: the file cannot be read, the array has another shape or type, or the Pillow
            image another mode, or values or a size that ``decoding`` does not allow.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, decoding)
    if isinstance(image, PillowImage.Image):
        name = getattr(image, "filename", "")
        with naming(f"the Pillow image {printable(name)}".rstrip()):
            return to_pixels(decode_image(image, decoding.max_pixels), decoding.white_level)
    with naming("the array"):
        return to_pixels(Decoded(_check_array(image)), decoding.white_level)


def is_batch(images: Any) -> bool:
    """Whether images are several: an array ``[B, H, W, 3]``, a data set, or any other iterable."""
    if isinstance(images, str | bytes | bytearray | os.PathLike):
        return False
    if hasattr(images, "convert") or hasattr(images, "read"):  # a Pillow image, an open file
        return False
    if hasattr(images, "ndim"):
        return bool(images.ndim == 4)
    # Data sets of PyTorch have items and a length, and nothing to iterate by.
    return isinstance(images, Iterable) or hasattr(images, "__getitem__")


def each_of(images: Any) -> Iterable[Any]:
    """Images one after the other, also where only one is given."""
    found: Iterable[Any] = images if is_batch(images) else [images]
    return found


def read_image(
    path: str | os.PathLike[str], decoding: Decoding = DEFAULT_DECODING
) -> npt.NDArray[Any]:
    """Decode one image file, with all the precision it has.

    PNG, JPEG, BMP, TIFF, WebP, GIF, Netpbm, JPEG 2000 and TGA; grey, palette and colour; 1 to 16
    bits a channel, and float TIFF with values in [0, 1]. Grey is repeated into three channels and
    the EXIF orientation is applied. Formats of 9 to 15 bits (packed TIFF, PGM, PPM, JPEG 2000) are
    scaled by their own white level, 16 bits by ``decoding.white_level``. Alpha is dropped, not
    composited: compositing needs a background that nobody chose, and the colour below it is what
    the camera saw. Colour profiles are not applied. Of a phone's multi-picture JPEG the main
    picture is read, of a TIFF the one page that is neither reduced nor a mask; any other file with
    several pages is refused, since all but one would go unseen.

    Args:
        path: the file; the format is recognised by content, not by suffix.
        decoding: white level of 16-bit values, and the most pixels.

    Returns:
        ``[H, W, 3]`` in the order red, green, blue: ``uint8`` for files of at most 8 bits a
        channel, else ``uint16`` (float values times 65535, rounded). The array is the caller's.

    Raises:
        InputError: the file is missing, not to be opened, no regular file, empty, damaged, not an
            image, of more pixels than ``decoding`` allows, or holds several pages, values above the
            white level, other integers or other float values.
    """
    decoded = decode_file(Path(path), decoding.max_pixels)
    with naming(printable(path)):
        return to_pixels(decoded, decoding.white_level)


def read_encoded(data: bytes, name: str, decoding: Decoding = DEFAULT_DECODING) -> npt.NDArray[Any]:
    """Decode the content of one image file, as :func:`read_image` decodes the file.

    Args:
        data: the content.
        name: of the image, for sentences.
        decoding: white level of 16-bit values, and the most pixels.

    Raises:
        InputError: as for :func:`read_image`.
    """
    decoded = decode_bytes(data, name, decoding.max_pixels)
    with naming(printable(name)):
        return to_pixels(decoded, decoding.white_level)


def to_uint8(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Reduce an image to 8 bits for display: ``round(value / 257)`` for ``uint16``.

    Args:
        image: any shape, ``uint8`` or ``uint16``.

    Returns:
        The same shape, ``uint8``; an image that has 8 bits already is returned as it is.

    Raises:
        InputError: another dtype.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype != np.uint16:
        raise InputError(
            f"an image of dtype {image.dtype} was given: uint8 or uint16 is expected; read it with "
            "read_image."
        )
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_array(image: Any) -> npt.NDArray[Any]:
    """Return ``[H, W, 1 or 3]``."""
    try:
        pixels = np.asarray(image)
    except Exception as error:
        raise RefusedError(f"is a {type(image).__name__}: {_FORMS}") from error
    shape = list(pixels.shape)
    if pixels.ndim == 0:  # NumPy wraps whatever it does not know
        kind = type(image).__name__
        raise RefusedError(f"is of type {kind} (shape {shape}, {pixels.dtype}): {_FORMS}")
    if pixels.ndim == 2:
        pixels = pixels[..., None]  # [H, W, 1]
    is_image = pixels.ndim == 3 and pixels.shape[2] in (1, 3) and 0 not in pixels.shape
    if not is_image or pixels.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise RefusedError(f"has shape {shape} and type {pixels.dtype}: {_FORMS}")
    return pixels


_FORMS = (
    "[H, W, 3], [H, W, 1] or [H, W] of uint8 or uint16 is expected; give such an array, a path or "
    "a Pillow image."
)
