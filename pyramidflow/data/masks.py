"""Ground-truth masks."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pyramidflow.data.decoding import DEFAULT_DECODING, Decoded, Decoding, decode_file
from pyramidflow.errors import InputError
from pyramidflow.io.names import printable


def read_mask(
    path: str | os.PathLike[str],
    shape: tuple[int, int],
    decoding: Decoding = DEFAULT_DECODING,
) -> npt.NDArray[np.bool_]:
    """Decode one ground-truth mask.

    A pixel is a defect where any colour channel is above 0, whatever the value: some data sets
    write 255, others the number of the defect's class. Of a file with a palette that number counts,
    not its colour. A mask has to be stored without loss, and without alpha unless alpha says the
    same as the colours or nothing at all (one value everywhere).

    Args:
        path: the mask file, in any lossless format that ``read_image`` decodes, or of wider
            integers.
        shape: height and width of the image that the mask belongs to, in pixels.
        decoding: the most pixels.

    Returns:
        ``[H, W]`` bool, true on the defect.

    Raises:
        InputError: the mask's size is not the image's, its format is lossy, its alpha contradicts
            its colours, its values are not finite, or the file cannot be decoded.
    """
    decoded = decode_file(Path(path), decoding.max_pixels)
    if decoded.values.shape[:2] != tuple(shape):
        raise InputError(
            f"mask {printable(path)} is {_size(decoded.values.shape)} but its image is "
            f"{_size(shape)} (height × width in pixels): equal sizes are expected; save the mask "
            "at the size of its image."
        )
    return _mask_of(decoded, printable(path))


def read_picture_mask(
    path: str | os.PathLike[str], decoding: Decoding = DEFAULT_DECODING
) -> npt.NDArray[np.bool_]:
    """Decode a mask that belongs to no single image, as :func:`read_mask`.

    Args:
        path: the mask file.
        decoding: the most pixels.

    Returns:
        ``[H, W]`` bool.

    Raises:
        InputError: as :func:`read_mask`, but for the size.
    """
    return _mask_of(decode_file(Path(path), decoding.max_pixels), printable(path))


def _mask_of(decoded: Decoded, name: str) -> npt.NDArray[np.bool_]:
    if decoded.is_lossy:
        raise InputError(
            f"mask {name} is in a format that changes values (JPEG, JPEG 2000 or lossy WebP), "
            "which frays the defect's edge: a format without loss is expected; draw or export it "
            "anew as PNG."
        )
    if decoded.values.dtype.kind == "f" and not np.isfinite(decoded.values).all():
        raise InputError(
            f"mask {name} holds values that are not finite: 0 for good and above 0 for defects is "
            "expected; save it so."
        )
    mask = _defect(decoded)
    if decoded.alpha is not None and _contradicts(decoded.alpha, mask):
        raise InputError(
            f"mask {name} has an alpha channel that differs from its colours, so that nobody can "
            "tell which of the two is the defect: grey without alpha is expected, 0 for good and "
            "above 0 for defects; save it so."
        )
    return mask


def _defect(decoded: Decoded) -> npt.NDArray[np.bool_]:
    values = decoded.values if decoded.index is None else decoded.index[..., None]
    mask: npt.NDArray[np.bool_] = np.any(values > 0, axis=-1)  # [H, W]
    return mask


def _contradicts(alpha: npt.NDArray[np.generic], mask: npt.NDArray[np.bool_]) -> bool:
    opaque = alpha.astype(bool)  # [H, W]
    is_constant = bool((alpha == alpha.flat[0]).all())
    return not is_constant and not np.array_equal(opaque, mask)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}×{shape[1]}"
