"""What all families of formats share: settings, the decoded form, and the checks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pyramidflow.errors import InputError

MAX_PIXELS = 178_000_000
"""Default of :attr:`Decoding.max_pixels`: decoded in 16 bits and colour, about a gigabyte."""


@dataclass(frozen=True)
class Decoding:
    """How image files, arrays and Pillow images become pixels.

    Attributes:
        white_level: the value that means white in 16-bit images, from 256 to 65535; None for 65535.
            A camera of 12 bits that writes its values into 16-bit files unchanged has 4095. Images
            are scaled so that it becomes 65535; one with a larger value is refused, since then the
            level is wrong. It does not concern 8 bits, float, or formats that carry their own
            white level (packed TIFF, PGM, PPM, JPEG 2000).
        max_pixels: images of more pixels are refused before they are decoded.

    Raises:
        InputError: a value outside its range.
    """

    white_level: int | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.white_level is not None and not _is_integer(self.white_level, 256, 65535):
            raise InputError(
                f"the white level is {self.white_level!r}: a whole number from 256 to 65535 is "
                "expected; give the largest value of the camera, such as 4095 for 12 bits."
            )
        if not _is_integer(self.max_pixels, 1, 2**40):
            raise InputError(
                f"the most pixels of an image are {self.max_pixels!r}: a whole number of at least "
                "1 is expected; give such a number."
            )


def _is_integer(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


DEFAULT_DECODING = Decoding()


class RefusedError(Exception):
    """An image that cannot be used, said as the sentence's rest after the name of the image."""


@dataclass(frozen=True)
class Decoded:
    """One image as its file holds it, upright.

    Attributes:
        values: ``[H, W, 1]`` grey or ``[H, W, 3]`` in the order red, green, blue, without alpha, in
            the dtype of the file.
        white: the value that means white; None where the file does not say (16 bits and float).
        alpha: ``[H, W]``, where there is any.
        index: ``[H, W]``, the numbers in the palette, where there is one.
        is_lossy: whether the format may have changed values when the file was written.
    """

    values: npt.NDArray[Any]
    white: int | None = None
    alpha: npt.NDArray[Any] | None = None
    index: npt.NDArray[Any] | None = None
    is_lossy: bool = False


@dataclass(frozen=True)
class Family:
    """A family of file formats.

    Attributes:
        name: as users know it.
        suffixes: the endings of its files, in lower case, with the dot.
        recognises: whether a file is one of the family, by its first ``HEAD_BYTES`` bytes.
        decode: decodes an open file from its start; the second argument is the most pixels, to be
            compared with the header's size before anything is decoded. Raises ``RefusedError`` for
            what it can name, any other exception for damage.
        order: families are asked from the lowest number on whether they recognise a file: last
            those without a signature.
    """

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[bytes], bool]
    decode: Callable[[BinaryIO, int], Decoded]
    order: int = 10


HEAD_BYTES = 32


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image that is too large, by the size that its header announces.

    Raises:
        RefusedError: no pixels, or more than ``max_pixels``.
    """
    if width < 1 or height < 1:
        raise RefusedError(
            f"has {height}×{width} pixels: at least 1×1 is expected; save it again or remove it."
        )
    if width * height > max_pixels:
        raise RefusedError(
            f"has {height}×{width} pixels, {width * height / 1e6:.6g} megapixels: at most "
            f"{max_pixels / 1e6:.6g} are expected; crop it, or raise --max-megapixels (in Python "
            "max_pixels) if it is trusted."
        )


def several_pages() -> RefusedError:
    """Return the refusal of a file with more than one image."""
    return RefusedError(
        "holds several pages: one image is expected; save each page as its own file."
    )


def split_alpha(pixels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    """Take a last channel of alpha off.

    Args:
        pixels: ``[H, W]`` or ``[H, W, 1 to 4]``; with 2 or 4 channels the last one is alpha.

    Returns:
        ``[H, W, 1 or 3]``, and alpha ``[H, W]`` or None.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]  # [H, W, 1]
    channels = pixels.shape[2]
    if channels in (2, 4):
        return pixels[..., : channels - 1], pixels[..., channels - 1]
    return pixels, None


def upright(values: npt.NDArray[Any], orientation: object) -> npt.NDArray[Any]:
    """Undo one of the eight EXIF orientations.

    Args:
        values: ``[H, W]`` or ``[H, W, C]``.
        orientation: the tag's value; what is not 2 to 8 means upright already.

    Returns:
        ``[H, W(, C)]``, or ``[W, H(, C)]`` for orientations 5 to 8; a view.
    """
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)  # [W, H(, C)]
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return values[rows, columns]


def to_pixels(decoded: Decoded, white_level: int | None) -> npt.NDArray[Any]:
    """Bring a decoded image to the form that the package works with.

    ``round(value · full / white)``, with ``full`` 255 for 8 bits and 65535 otherwise; float values
    in [0, 1] have the white level 1.

    Args:
        decoded: the image.
        white_level: of 16-bit values that do not say their own; None for 65535.

    Returns:
        ``[H, W, 3]``, ``uint8`` or ``uint16``, contiguous, of the machine's byte order and
        writeable.

    Raises:
        RefusedError: values above the white level, other integers, or other float values.
    """
    values = _to_unsigned(decoded.values, decoded.white, white_level)  # [H, W, 1 or 3]
    if values.shape[2] == 1:
        values = np.broadcast_to(values, (*values.shape[:2], 3))  # [H, W, 3]
    return np.require(values, requirements=["C", "W", "A"])


def _to_unsigned(
    values: npt.NDArray[Any], own_white: int | None, white_level: int | None
) -> npt.NDArray[Any]:
    if values.dtype.kind == "f":
        return _from_float(values)
    if values.dtype.kind != "u" or values.dtype.itemsize > 2:
        raise RefusedError(
            f"holds {values.dtype} values, which name no white level: 8 or 16 bits unsigned, or "
            "float in [0, 1], are expected; save it so."
        )
    # Files of the other byte order arrive in it; torch takes only the machine's own.
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    full = int(np.iinfo(values.dtype).max)
    chosen = white_level if values.dtype == np.uint16 else None
    white = own_white or chosen or full
    if white == full:
        return values
    if (highest := int(values.max())) > white:
        raise RefusedError(
            f"holds the value {highest} above its white level {white}: no larger one is expected; "
            "train with the camera's largest value as --white-level (in Python white_level), or "
            "leave the image out."
        )
    scaled = (values.astype(np.uint32) * np.uint32(full) + np.uint32(white // 2)) // np.uint32(
        white
    )
    return np.asarray(scaled, values.dtype)


def _from_float(values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):
        raise RefusedError(
            f"holds float values from {low:g} to {high:g}: [0, 1] is expected; divide them by the "
            "white level, or save it with 8 or 16 bits."
        )
    return np.rint(values.astype(np.float64) * 65535.0).astype(np.uint16)
