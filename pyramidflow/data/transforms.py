"""What is done to an image between its file and the network."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pyramidflow.errors import InputError


def resize_image(image: npt.NDArray[Any], size: int | tuple[int, int]) -> npt.NDArray[Any]:
    """Resize by bilinear interpolation, with the filter widened when shrinking (antialias).

    Args:
        image: ``[H, W, 3]``, ``uint8`` or ``uint16``.
        size: height and width in pixels, or one number for both.

    Returns:
        ``[height, width, 3]`` of the same dtype, contiguous; ``image`` itself if it has that size.

    Raises:
        InputError: another shape or dtype, or a size below 1.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise InputError(
            f"the image size is {height}×{width}: at least 1×1 is expected; give such a size."
        )
    _check_image(image)
    if image.shape[:2] == (height, width):
        return image
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"]))
    planes = pixels.permute(2, 0, 1)[None]  # [1, 3, H, W]
    if image.dtype == np.uint8:
        resized = _interpolate(planes, height, width)
    else:
        resized = _interpolate(planes.to(torch.float32), height, width).round().to(torch.uint16)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())  # [height, width, 3]


def mean_level(image: npt.NDArray[Any]) -> float:
    """Mean of all values of an image, as of 8 bits: 0 to 255.

    Args:
        image: ``uint8`` or ``uint16``.
    """
    scale = 1 if image.dtype == np.uint8 else 257
    return float(image.mean()) / scale


def to_mean_level(image: npt.NDArray[Any], level: float | None) -> npt.NDArray[Any]:
    """Bring an image to a mean by one factor: ``min(round(x · level / mean(x)), white)``.

    Two exposures of a part differ by a factor, and a defect in the darker one by as much less.

    Args:
        image: ``[H, W, 3]``, ``uint8`` or ``uint16``.
        level: mean of all values, as of 8 bits; ``None`` gives the image itself.

    Returns:
        The same shape and dtype; a black image stays black.
    """
    if level is None:
        return image
    mean = mean_level(image)
    if mean == 0:
        return image
    white = np.iinfo(image.dtype).max
    table = np.minimum(np.rint(np.arange(white + 1) * (level / mean)), white).astype(image.dtype)
    evened: npt.NDArray[Any] = table[image]
    return evened


def augment_texture(image: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Flip left-right, flip top-bottom and rotate by 90°, each with probability 0.5.

    Each of the eight ways to lay a square down comes with probability 1/8.

    Args:
        image: ``[H, W, 3]``; only a square is rotated, since another shape would change.
        rng: draws three numbers a call.

    Returns:
        ``[H, W, 3]``, the same pixels in another order, contiguous.

    Source: the augmentation of textures in the paper's supplement.
    """
    flip_columns, flip_rows, rotate = rng.random(3) < 0.5
    if flip_columns:
        image = image[:, ::-1]
    if flip_rows:
        image = image[::-1]
    if rotate and image.shape[0] == image.shape[1]:
        image = np.rot90(image)
    return np.ascontiguousarray(image)


def _check_image(image: npt.NDArray[Any]) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"an image of shape {list(image.shape)} was given: [H, W, 3] is expected; read it with "
            "read_image."
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"an image of dtype {image.dtype} was given: uint8 or uint16 is expected; read it with "
            "read_image."
        )


def _interpolate(planes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(
        planes, (height, width), mode="bilinear", antialias=True, align_corners=False
    )
