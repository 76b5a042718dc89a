"""What a runtime compares an image with: whole maps, or the part of them where a tile lies."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

View = Callable[[], Tensor]
"""Gives a map when a step needs it."""


@dataclass
class TileOrigin:
    """Where in the whole feature map a tile lies; it moves from tile to tile.

    Attributes:
        top: in pixels of the feature map, a multiple of ``2^(L-1)``.
        left: likewise.
    """

    top: int = 0
    left: int = 0


def whole_view(x: Tensor) -> View:
    """A map that is read as it is."""
    return lambda: x


def tile_view(source: Tensor, origin: TileOrigin, level: int, buffer: Tensor) -> View:
    """A tile's part of a map.

    Args:
        source: ``[1, C, H, W]``, of a level of the larger pyramid.
        origin: of the tile.
        level: of the pyramid.
        buffer: ``[1, C, h, w]``; the part is copied into it whenever it is read.
    """
    height, width = buffer.shape[2:]

    def read() -> Tensor:
        top, left = origin.top >> level, origin.left >> level
        buffer.copy_(source[:, :, top : top + height, left : left + width])
        return buffer

    return read
