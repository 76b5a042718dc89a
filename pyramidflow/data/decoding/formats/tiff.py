"""TIFF: up to 8 bits by Pillow, 9 bits to float by tifffile, packed integers included."""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import TiffImagePlugin

from pyramidflow.data.decoding.common import (
    Decoded,
    Family,
    RefusedError,
    check_pixels,
    several_pages,
    split_alpha,
    upright,
)
from pyramidflow.data.decoding.pillow import decode_image

_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION = 274
_UNSIGNED = 1
_SEPARATE = 2

# Pages of NewSubfileType 1 (reduced) and 4 (mask), and of the older SubfileType 2 (reduced), are
# about the image, not other images.
_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_ASIDE_BITS = 1 | 4
_OLD_REDUCED = 2
_MOST_PAGES_ASIDE = 100
_MOST_TAGS = 4096

_COLOURS: dict[int, int] = {
    tifffile.PHOTOMETRIC.MINISWHITE: 1,
    tifffile.PHOTOMETRIC.MINISBLACK: 1,
    tifffile.PHOTOMETRIC.RGB: 3,
}
# The codecs of lossy, raw and vendors' formats are many; these write deep images without loss.
_COMPRESSIONS = frozenset(
    {
        tifffile.COMPRESSION.NONE,
        tifffile.COMPRESSION.LZW,
        tifffile.COMPRESSION.ADOBE_DEFLATE,
        tifffile.COMPRESSION.DEFLATE,
        tifffile.COMPRESSION.PACKBITS,
        tifffile.COMPRESSION.LZMA,
        tifffile.COMPRESSION.ZSTD,
    }
)
_LOSSY = frozenset({"jpeg", "tiff_jpeg", "webp"})


def _decode(file: BinaryIO, max_pixels: int) -> Decoded:
    number = _only_page(file)
    file.seek(0)
    try:
        image = TiffImagePlugin.TiffImageFile(file)
    except SyntaxError:
        return _decode_deep(file, number, max_pixels)
    with image:
        if number:
            image.seek(number)
        if not _has_8_bits(image):
            return _decode_deep(file, number, max_pixels)
        check_pixels(image.width, image.height, max_pixels)
        _check_starts(image)
        return decode_image(image, max_pixels, image.info.get("compression") in _LOSSY)


def _has_8_bits(image: TiffImagePlugin.TiffImageFile) -> bool:
    bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))
    formats = image.tag_v2.get(TiffImagePlugin.SAMPLEFORMAT, (_UNSIGNED,))
    return max(bits) <= 8 and set(formats) == {_UNSIGNED}


def _check_starts(image: TiffImagePlugin.TiffImageFile) -> None:
    tags = image.tag_v2
    width, length = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    starts = tags.get(TiffImagePlugin.STRIPOFFSETS)
    if starts is None:
        starts = tags[TiffImagePlugin.TILEOFFSETS]
        across = math.ceil(width / tags[TiffImagePlugin.TILEWIDTH])
        parts = across * math.ceil(length / tags[TiffImagePlugin.TILELENGTH])
    else:
        parts = math.ceil(length / tags.get(TiffImagePlugin.ROWSPERSTRIP, length))
    if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _SEPARATE:
        parts *= tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    _refuse_missing(starts, parts)


def _refuse_missing(starts: Sequence[int], parts: int) -> None:
    # A strip or tile that was never written would be read as black, or as the file's first bytes.
    if len(starts) < parts or 0 in starts[:parts]:
        raise ValueError("parts of its pixels are missing")


def _only_page(file: BinaryIO) -> int:
    """Return the number of the one full-size page; 0 if every page is an aside.

    Raises:
        RefusedError: a second full-size page, or pages without end.
    """
    found: int | None = None
    seen: set[int] = set()
    for number, (offset, is_aside) in enumerate(_pages(file)):
        if offset in seen or number > _MOST_PAGES_ASIDE:
            raise RefusedError(
                "holds pages in a circle or too many of them: one image is expected; save the "
                "image alone."
            )
        seen.add(offset)
        if is_aside:
            continue
        if found is not None:
            raise several_pages()
        found = number
    return found or 0


def _pages(file: BinaryIO) -> Iterator[tuple[int, bool]]:
    """Yield each page's place in the file, and whether it is reduced or a mask."""
    head = file.read(16)
    order = "<" if head.startswith(b"II") else ">"
    is_big = head[2:4] in (b"+\0", b"\0+")
    count_format, entry_bytes, offset_format = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    (offset,) = struct.unpack_from(order + offset_format, head, 8 if is_big else 4)
    while offset:
        file.seek(offset)
        count_bytes = struct.calcsize(count_format)
        (count,) = struct.unpack(order + count_format, file.read(count_bytes))
        if count > _MOST_TAGS:
            raise ValueError(f"a page of {count} tags")
        tags = file.read(count * entry_bytes)
        yield offset, _is_aside(tags, order, entry_bytes)
        (offset,) = struct.unpack(order + offset_format, file.read(struct.calcsize(offset_format)))


def _is_aside(tags: bytes, order: str, entry_bytes: int) -> bool:
    for place in range(0, len(tags) - entry_bytes + 1, entry_bytes):
        tag, kind = struct.unpack_from(order + "HH", tags, place)
        if tag not in (_NEW_SUBFILE_TYPE, _SUBFILE_TYPE):
            continue
        value_place = place + entry_bytes - (8 if entry_bytes == 20 else 4)
        (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), tags, value_place)
        if tag == _NEW_SUBFILE_TYPE and value & _ASIDE_BITS:
            return True
        if tag == _SUBFILE_TYPE and value == _OLD_REDUCED:
            return True
    return False


def _decode_deep(file: BinaryIO, number: int, max_pixels: int) -> Decoded:
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages[number]
        if not isinstance(page, tifffile.TiffPage):
            raise ValueError("a page without tags of its own")
        colours = _check_page(page, max_pixels)
        values = page.asarray()
        orientation = page.tags.valueof(_ORIENTATION)
    if values.ndim == 3 and page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)  # [H, W, S]
    if values.ndim == 2:
        values = values[..., None]  # [H, W, 1]
    colour, alpha = split_alpha(values)
    white = _own_white(page, values.dtype)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        colour = _turn_around(colour, white)
    return Decoded(
        upright(colour[..., :colours], orientation),
        white,
        None if alpha is None else upright(alpha, orientation),
    )


def _check_page(page: tifffile.TiffPage, max_pixels: int) -> int:
    """Return the number of channels of colour, before anything is decoded."""
    check_pixels(page.imagewidth, page.imagelength, max_pixels)
    if page.is_tiled:
        check_pixels(page.tilewidth, page.tilelength, max_pixels)
    colours = _COLOURS.get(page.photometric)
    channels = page.samplesperpixel
    if colours is None or channels not in (colours, colours + 1) or page.imagedepth != 1:
        raise RefusedError(
            f"holds {channels} channels of kind {_name(page.photometric)} in {page.dtype}: grey or "
            "RGB is expected; save it as grey or RGB."
        )
    if isinstance(page.bitspersample, tuple):
        raise RefusedError(
            f"has channels of {page.bitspersample} bits: equal ones are expected; save it as RGB "
            "of 8 or 16 bits."
        )
    if page.compression not in _COMPRESSIONS:
        raise RefusedError(
            f"is a {page.dtype} TIFF compressed by {_name(page.compression)}: LZW, Deflate, LZMA, "
            "Zstandard, PackBits or none is expected; save it uncompressed or as PNG."
        )
    _check_parts(page)
    return colours


def _check_parts(page: tifffile.TiffPage) -> None:
    parts = math.prod(page.chunked)
    _refuse_missing(page.dataoffsets, parts)
    _refuse_missing(page.databytecounts, parts)


def _name(value: object) -> str:
    return str(getattr(value, "name", value))


def _own_white(page: tifffile.TiffPage, dtype: np.dtype[Any]) -> int | None:
    """Return the white level of integers that fill fewer bits than those they are unpacked to."""
    if dtype.kind != "u" or page.bitspersample >= 8 * dtype.itemsize:
        return 255 if dtype == np.uint8 else None
    return (1 << int(page.bitspersample)) - 1


def _turn_around(values: npt.NDArray[Any], white: int | None) -> npt.NDArray[Any]:
    if values.dtype.kind not in "uf":
        return values
    if values.dtype.kind == "f":
        white = 1
    elif white is None:
        white = int(np.iinfo(values.dtype).max)
    turned: npt.NDArray[Any] = values.dtype.type(white) - values
    return turned


TIFF = Family("TIFF", (".tif", ".tiff"), lambda head: head.startswith(_SIGNATURES), _decode)
