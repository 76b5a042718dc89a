"""Images by number: decoded, resized, and kept in memory as far as a budget allows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pyramidflow.data.images import read_image
from pyramidflow.data.transforms import resize_image
from pyramidflow.errors import InputError


class ImageSet:
    """A list of image files, all seen at one size.

    Images are decoded when first asked for. The resized pixels are kept until ``cache_bytes`` are
    in use; images that do not fit are decoded again each time. Not for use by several threads.

    Args:
        paths: the files, in the order of their numbers.
        size: height and width in pixels, or one number for both.
        cache_bytes: how much memory the kept images may take, in bytes.

    Raises:
        InputError: on access, if a file cannot be decoded.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int | tuple[int, int],
        cache_bytes: int = 2 * 2**30,
    ) -> None:
        self.paths = tuple(paths)
        self.size = size
        self._free_bytes = cache_bytes
        self._kept: dict[Path, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        """Return image ``index``: ``[height, width, 3]``, ``uint8`` or ``uint16``, read-only.

        Raises:
            IndexError: no such number.
            InputError: the file cannot be decoded.
        """
        path = self.paths[index]
        kept = self._kept.get(path)
        if kept is not None:
            return kept
        image = resize_image(read_image(path), self.size)
        # A caller who wrote into a kept image would change it for everybody after.
        image.setflags(write=False)
        if image.nbytes <= self._free_bytes:
            self._free_bytes -= image.nbytes
            self._kept[path] = image
        return image


def stack(images: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
    """Stack images into one batch.

    If any image has 16 bits, the 8-bit ones are multiplied by 257, so that 255 becomes 65535.

    Args:
        images: at least one, all ``[H, W, 3]`` of one size, ``uint8`` or ``uint16``.

    Returns:
        ``[B, H, W, 3]``, ``uint8`` or ``uint16``, in memory of its own.

    Raises:
        InputError: no image, or different sizes.
    """
    shapes = sorted({image.shape for image in images})
    if len(shapes) != 1:
        given = " and ".join(str(list(shape)) for shape in shapes) or "none"
        raise InputError(
            f"images of shapes {given} were given where one shape is expected; resize them first"
        )
    if any(image.dtype == np.uint16 for image in images):
        images = [_to_uint16(image) for image in images]
    return torch.from_numpy(np.stack(images))  # [B, H, W, 3]


def _to_uint16(image: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    if image.dtype == np.uint16:
        return image
    promoted: npt.NDArray[np.uint16] = np.multiply(image, 257, dtype=np.uint16)
    return promoted
