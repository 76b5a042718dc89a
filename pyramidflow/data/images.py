"""Image and mask files: found, decoded, and brought to the two forms the package works with."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, ImageOps, UnidentifiedImageError

from pyramidflow.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TAG_BITS_PER_SAMPLE = 258
_TAG_PHOTOMETRIC = 262
_TAG_ORIENTATION = 274
_TAG_SAMPLE_FORMAT = 339
_PHOTOMETRIC_MIN_IS_WHITE = 0
_PHOTOMETRIC_MIN_IS_BLACK = 1
_PHOTOMETRIC_RGB = 2
_SAMPLE_FORMAT_UNSIGNED = 1


def list_images(path: Path | str, recursive: bool = False) -> list[Path]:
    """List the image files of a folder.

    A file counts by its suffix (``IMAGE_SUFFIXES``, in any case). Hidden files and folders, whose
    names start with a dot, are skipped: macOS leaves ``._part.png`` beside ``part.png``.

    Args:
        path: the folder.
        recursive: also list the folders below it.

    Returns:
        The files, ordered by their path relative to the folder, written with ``/`` and compared
        character by character: the same order on every machine. Empty if there are none.

    Raises:
        InputError: the folder does not exist or is a file.
    """
    folder = Path(path)
    if not folder.exists():
        raise InputError(f"no such folder: {folder}; give a folder that exists")
    if not folder.is_dir():
        raise InputError(f"{folder} is a file where a folder of images is expected; give a folder")
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        files += [Path(parent, name) for name in names if _is_image_name(name)]
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())


def read_image(path: Path | str) -> npt.NDArray[Any]:
    """Decode one image file, with all the precision it has.

    PNG, JPEG, BMP, TIFF and WebP; grey, palette and colour; 1 to 16 bits a channel, and float TIFF
    with values in [0, 1]. Grey is repeated into three channels and the EXIF orientation is applied.
    Alpha is dropped, not composited: compositing needs a background that nobody chose, and the
    colour below it is what the camera saw. Of a phone's multi-picture JPEG the main picture is
    read; any other file with several pages is refused, since all but one would go unseen.

    Args:
        path: the file; the format is recognised by content, not by suffix.

    Returns:
        ``[H, W, 3]`` in the order red, green, blue: ``uint8`` for files of at most 8 bits a
        channel, else ``uint16`` (float values times 65535, rounded). The array is the caller's.

    Raises:
        InputError: the file is missing, a folder, empty, damaged, not an image, too large for
            Pillow's pixel limit, or holds several pages, other integers or other float values.
    """
    path = Path(path)
    pixels = _to_unsigned(_decode(path), path)  # [H, W, 1 or 3]
    colour = np.broadcast_to(pixels, (*pixels.shape[:2], 3))  # [H, W, 3]
    return np.array(colour, order="C")


def read_mask(path: Path | str, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Decode one ground-truth mask.

    A pixel is a defect where any colour channel is above 0, whatever the value: some data sets
    write 255, others the number of the defect's class. Masks therefore have to be stored without
    loss, not as JPEG.

    Args:
        path: the mask file, in any format that ``read_image`` decodes, or of wider integers.
        shape: height and width of the image that the mask belongs to, in pixels.

    Returns:
        ``[H, W]`` bool, true on the defect.

    Raises:
        InputError: the mask's size is not the image's, or the file cannot be decoded.
    """
    path = Path(path)
    values = _decode(path)  # [H, W, 1 or 3]
    if values.shape[:2] != tuple(shape):
        raise InputError(
            f"mask {path} is {_size(values.shape)} but its image is {_size(shape)} (height × width "
            "in pixels); save the mask at the size of its image"
        )
    mask: npt.NDArray[np.bool_] = np.any(values > 0, axis=-1)  # [H, W]
    return mask


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
            f"an image of dtype {image.dtype} was given where uint8 or uint16 is expected; "
            "read it with read_image"
        )
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}×{shape[1]}"


def _decode(path: Path) -> npt.NDArray[Any]:
    """Return ``[H, W, 1 or 3]`` without alpha, upright, in the dtype of the file."""
    _check_file(path)
    # Given a name instead of an open file, Pillow maps uncompressed TIFFs into memory and scrambles
    # those whose orientation exchanges rows and columns.
    with _refusing_damage(path), path.open("rb") as file:
        try:
            image = Image.open(file, formats=_FORMATS)
        except UnidentifiedImageError:
            if _first_bytes(path, 4) in _TIFF_MAGIC:
                return _decode_with_tifffile(path)
            raise
        with image:
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise _several_pages(path, getattr(image, "n_frames", 1))
            if image.format == "PNG" and _png_bits(path) == 16:
                return _decode_deep_png(path, image)
            if image.format == "TIFF" and not _pillow_keeps_precision(image):
                return _decode_with_tifffile(path)
            return _decode_with_pillow(image)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder where an image file is expected; give a file")
    if not path.is_file():
        raise InputError(f"no such image file: {path}; give a file that exists")
    if path.stat().st_size == 0:
        raise InputError(
            f"{path} is empty (0 bytes) where an image is expected; copy it again or remove it"
        )


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    # Decoders answer damaged bytes with almost any exception, so none of them is let through.
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} is not an image: PNG, JPEG, BMP, TIFF or WebP is expected; replace or remove "
            "the file"
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise InputError(
            f"{path} cannot be decoded ({reason}), a complete image is expected; save it again "
            "or remove it"
        ) from error


def _too_large(path: Path) -> InputError:
    return InputError(
        f"{path} has more pixels than is safe to decode, at most {_most_pixels():.0f} are "
        "expected; crop it, or raise PIL.Image.MAX_IMAGE_PIXELS if the file is trusted"
    )


def _most_pixels() -> float:
    return float("inf") if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def _several_pages(path: Path, count: int) -> InputError:
    return InputError(
        f"{path} holds {count} pages where one image is expected; save each page as its own file"
    )


def _first_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def _png_bits(path: Path) -> int:
    # The signature (8), the header's length and name (8), width and height (8), then the depth.
    (bits,) = struct.unpack_from("B", _first_bytes(path, 25), 24)
    return int(bits)


def _decode_deep_png(path: Path, image: Image.Image) -> npt.NDArray[np.uint16]:
    # Pillow drops the low bytes of 16-bit colour. Read as if of the other byte order, the same file
    # gives just those; grey with alpha, two values of two bytes, is read as four of one byte.
    packing = image.tile[0][3]  # type: ignore[attr-defined]
    if packing in ("RGB;16B", "RGBA;16B"):
        high = _unpack_png(path, packing)  # [H, W, 3 or 4]
        low = _unpack_png(path, packing.replace(";16B", ";16L"))
        values = (high << np.uint16(8) | low)[..., :3]  # [H, W, 3]
    elif packing == "LA;16B":
        parts = _unpack_png(path, "RGBA")  # [H, W, 4]
        values = (parts[..., 0] << np.uint16(8) | parts[..., 1])[..., None]  # [H, W, 1]
    else:
        values = np.asarray(image).astype(np.uint16)[..., None]  # [H, W, 1]
    return _upright(values, image.getexif().get(_TAG_ORIENTATION, 1))


def _unpack_png(path: Path, packing: str) -> npt.NDArray[np.uint16]:
    with Image.open(path, formats=("PNG",)) as image:
        codec, box, offset, _ = image.tile[0]
        image.tile = [(codec, box, offset, packing)]
        return np.asarray(image).astype(np.uint16)


def _pillow_keeps_precision(image: Image.Image) -> bool:
    if image.mode.startswith("I;16"):
        return True
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(_TAG_BITS_PER_SAMPLE, (1,))
    formats = tags.get(_TAG_SAMPLE_FORMAT, (_SAMPLE_FORMAT_UNSIGNED,))
    return max(bits) <= 8 and set(formats) == {_SAMPLE_FORMAT_UNSIGNED}


def _decode_with_pillow(image: Image.Image) -> npt.NDArray[Any]:
    if image.mode.startswith("I;16"):
        tags = image.tag_v2  # type: ignore[attr-defined]
        white_is_zero = tags.get(_TAG_PHOTOMETRIC) == _PHOTOMETRIC_MIN_IS_WHITE
        white = (1 << max(tags.get(_TAG_BITS_PER_SAMPLE, (16,)))) - 1
        values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)  # [H, W]
        # Pillow turns this polarity around for 8 bits but not for 16.
        return (white - values if white_is_zero else values)[..., None]  # [H, W, 1]
    ImageOps.exif_transpose(image, in_place=True)
    image.info.pop("transparency", None)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"))[..., None]  # [H, W, 1]
    # A conversion to the same mode is a copy, of a photograph some hundred megabytes.
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))  # [H, W, 3]


def _decode_with_tifffile(path: Path) -> npt.NDArray[Any]:
    with tifffile.TiffFile(path) as file:
        if len(file.pages) > 1:
            raise _several_pages(path, len(file.pages))
        page = file.pages.first
        if page.imagewidth * page.imagelength > _most_pixels():
            raise _too_large(path)
        photometric = int(page.photometric)
        colours = {
            _PHOTOMETRIC_MIN_IS_WHITE: 1,
            _PHOTOMETRIC_MIN_IS_BLACK: 1,
            _PHOTOMETRIC_RGB: 3,
        }.get(photometric)
        channels = page.samplesperpixel
        if colours is None or channels not in (colours, colours + 1) or page.imagedepth != 1:
            raise InputError(
                f"{path} holds {channels} channels of kind {page.photometric.name} in "
                f"{page.dtype}, grey or RGB is expected; save it as grey or RGB"
            )
        values = _tiff_values(page, path)
        tag = page.tags.get(_TAG_ORIENTATION)
    if values.ndim == 2:
        values = values[..., None]  # [H, W, 1]
    elif page.axes.startswith("S"):
        values = np.moveaxis(values, 0, -1)  # [H, W, S]
    values = values[..., :colours]  # [H, W, 1 or 3]
    if photometric == _PHOTOMETRIC_MIN_IS_WHITE and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    return _upright(values, 1 if tag is None else int(tag.value))


def _tiff_values(page: tifffile.TiffPage, path: Path) -> npt.NDArray[Any]:
    try:
        return page.asarray()
    except ValueError as error:
        # Compressions and predictors that need the companion package are known by this alone.
        if "imagecodecs" not in str(error):
            raise
        compression = tifffile.COMPRESSION(page.compression).name
        raise InputError(
            f"{path} is a {page.dtype} TIFF compressed by {compression}, which needs the package "
            "imagecodecs; install it, or save the file uncompressed or as PNG"
        ) from error


def _upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo the eight EXIF orientations; ``values`` is ``[H, W, C]``."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)  # [W, H, C]
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return values[rows, columns]


def _to_unsigned(values: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        # Files of the other byte order arrive in it; torch takes only the machine's own.
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind != "f":
        raise InputError(
            f"{path} holds {values.dtype} values, which name no white level; save it with 8 or 16 "
            "bits unsigned, or as float in [0, 1]"
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):
        raise InputError(
            f"{path} holds float values from {low:g} to {high:g} where [0, 1] is expected; divide "
            "them by the white level, or save it with 8 or 16 bits"
        )
    return np.rint(values.astype(np.float64) * 65535.0).astype(np.uint16)
