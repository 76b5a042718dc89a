"""Where a part lies in an image, and pictures brought from one pose to another.

Points are measured from the centre of a picture, in widths of the picture: a pose then holds at
every resolution, and where height and width were scaled differently, too.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Pose:
    """How a part lies against the reference: ``q = R(angle) u + (x, y)``.

    ``u`` is a point of the reference, ``q`` the same point of the part in the image.

    Attributes:
        x: how far the centre lies to the right, in widths of the image.
        y: how far it lies below, in widths of the image.
        angle: how far the part is turned clockwise, in degrees.
    """

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0

    def after(self, first: "Pose") -> "Pose":
        """The pose that carries a point by ``first`` and then by this one."""
        x, y = _turned(first.x, first.y, self.angle)
        return Pose(x + self.x, y + self.y, within_turn(first.angle + self.angle))

    @property
    def inverse(self) -> "Pose":
        """The pose that carries points back."""
        x, y = _turned(-self.x, -self.y, -self.angle)
        return Pose(x, y, -self.angle)


def within_turn(angle: float) -> float:
    """The same angle in degrees, from -180 up to 180."""
    return angle - 360 * math.floor((angle + 180) / 360)


def _turned(x: float, y: float, angle: float) -> tuple[float, float]:
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return cos * x - sin * y, sin * x + cos * y


def sampled_at(
    pose: Pose,
    size: tuple[int, int],
    ratio: float,
    canvas: float = 1.0,
) -> Tensor:
    """Where the pixels of a picture lie after a pose.

    Args:
        pose: carries the pixels' centres.
        size: height and width of the picture in pixels.
        ratio: its height over its width, as lengths.
        canvas: how much larger than the other picture it is, with the same centre.

    Returns:
        ``[1, h, w, 2]``, in halves of the other picture from its centre, as ``grid_sample`` wants.
    """
    return carried(_centres(size, canvas), pose, ratio)


def carried(points: Tensor, pose: Pose, ratio: float) -> Tensor:
    """Points ``[…, 2]`` carried by a pose, in halves of a picture from its centre.

    Args:
        points: across and down.
        pose: carries them.
        ratio: height of the picture over its width, as lengths.
    """
    cos, sin = math.cos(math.radians(pose.angle)), math.sin(math.radians(pose.angle))
    x, y = points.unbind(-1)
    return torch.stack(
        (
            cos * x - sin * ratio * y + 2 * pose.x,
            sin / ratio * x + cos * y + 2 * pose.y / ratio,
        ),
        -1,
    )


@lru_cache(maxsize=16)
def _centres(size: tuple[int, int], canvas: float) -> Tensor:
    """Of pixels, ``[1, h, w, 2]``: across and down, from -1 to 1 on a canvas of 1."""
    rows, columns = (
        ((2 * torch.arange(length, dtype=torch.float32) + 1) / length - 1) * canvas
        for length in size
    )
    down, across = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((across, down), -1)[None]


def sampled(
    picture: Tensor, grid: Tensor, mode: str = "bilinear", padding: str = "border"
) -> Tensor:
    """A picture ``[C, h, w]`` read at a grid ``[1, H, W, 2]``: ``[C, H, W]``."""
    read = functional.grid_sample(
        picture[None], grid, mode=mode, padding_mode=padding, align_corners=False
    )
    return read[0]


def inside(grid: Tensor) -> Mask:
    """Which points ``[1, h, w, 2]`` lie in the picture that they are read from: ``[h, w]``."""
    seen: Mask = (grid.abs() <= 1 + 1e-6).all(-1)[0].numpy()
    return seen


def to_float(pixels: npt.NDArray[Any]) -> Tensor:
    """Pixels ``[H, W, 3]``, uint8 or uint16, as ``[3, H, W]`` from 0 to 1."""
    white = 255 if pixels.dtype == np.uint8 else 65535
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)
    return torch.from_numpy(planes / np.float32(white))


def to_pixels(picture: Tensor, dtype: Any) -> npt.NDArray[Any]:
    """The reverse of :func:`to_float`; what is below 0 or above 1 is cut off."""
    white = 255 if dtype == np.uint8 else 65535
    scaled = (picture.clamp(0, 1) * white).round().permute(1, 2, 0)  # [H, W, 3]
    pixels: npt.NDArray[Any] = np.ascontiguousarray(scaled.numpy().astype(dtype))
    return pixels
