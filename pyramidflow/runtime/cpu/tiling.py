"""How an image is cut into tiles whose maps, put together, are the whole image's.

A pixel of the anomaly map depends on a bounded part of the image. A tile's map is right where that
part lies inside the tile, and at the borders of the image itself, where the tile sees what the
whole image sees: nothing beyond.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise, product
from math import prod

from pyramidflow.model import topology
from pyramidflow.model.architecture import Architecture
from pyramidflow.model.encoders import encoder_of
from pyramidflow.model.reach import Reach

BLUR = 2
"""Radius of the pyramid's filter."""


def map_reach(architecture: Architecture) -> Reach | None:
    """Which image pixels a pixel of the anomaly map depends on.

    Followed through the network: encoder, decomposition, coupling blocks, composition.

    Args:
        architecture: of the network.

    Returns:
        ``None`` where it is not known how far the encoder looks.
    """
    levels = architecture.levels
    encoder = encoder_of(architecture.encoder)
    features = encoder.reach(architecture.encoder_stages, 1 << (levels - 1))
    if features is None:
        return None
    reach = [features]
    cell = int(architecture.reduction == "max")  # pixels that a coarse one reads, less one
    for _ in range(levels - 1):
        reach.append(reach[-1].window(-BLUR, BLUR + cell).halved())
    reach[:-1] = [fine.joined(_up_sampled(coarse)) for fine, coarse in pairwise(reach)]
    radius = 2 * (architecture.kernel_size // 2)  # of two convolutions
    for block in topology.blocks(levels, architecture.stacks):
        reads = [
            reach[level].resized(by) for level, by in zip(block.reads, block.resizes, strict=True)
        ]
        params = reduce(Reach.joined, reads).window(-radius, radius)
        params = params.resized(block.at - block.writes)
        reach[block.writes] = reach[block.writes].joined(params)
    composed = reach[-1]
    for residual in reach[-2::-1]:
        composed = _up_sampled(composed).joined(residual)
    return composed


def _up_sampled(coarse: Reach) -> Reach:
    return coarse.doubled().window(-BLUR, BLUR)


@dataclass(frozen=True)
class Axis:
    """Tiles along one axis, all of one length; the first and the last one end with the image.

    Attributes:
        length: of a tile, in image pixels.
        spacing: image pixels between pixels of the map.
        starts: in pixels of the map, multiples of a period.
        bounds: likewise; tile ``i`` gives the map from ``bounds[i]`` to ``bounds[i+1]``.
    """

    length: int
    spacing: int
    starts: tuple[int, ...]
    bounds: tuple[int, ...]

    def spans(self) -> Iterator["Span"]:
        """The tiles, in order."""
        for start, first, last in zip(self.starts, self.bounds, self.bounds[1:], strict=False):
            at = start * self.spacing
            yield Span(
                start,
                slice(at, at + self.length),
                slice(first, last),
                slice(first - start, last - start),
                last == self.bounds[-1],
            )


@dataclass(frozen=True)
class Span:
    """A tile along one axis.

    Attributes:
        start: in pixels of the map.
        image: what it reads, in image pixels.
        given: the part of the map that it gives.
        kept: the same part, counted from the tile's start.
        is_last: whether the image ends with it.
    """

    start: int
    image: slice
    given: slice
    kept: slice
    is_last: bool = False

    def kept_at(self, level: int) -> slice:
        """The tile's part of a level of the pyramid: each pixel of the level is in one tile's.

        A pixel belongs where the first pixel of the map below it does, the padding to the last.
        """
        first, stop = (-(-at >> level) for at in (self.kept.start, self.kept.stop))
        return slice(first, None if self.is_last else stop)


def cut(reach: Reach, size: int, count: int) -> Axis | None:
    """The shortest tiles of which a number covers an axis.

    Args:
        reach: of the map.
        size: of the image, in pixels.
        count: how many tiles.

    Returns:
        ``None`` where the image is too short for them.
    """
    mapped, period = -(-size // reach.spacing), len(reach.spans)
    if count == 1:
        return Axis(size, reach.spacing, (0,), (0, mapped))
    lost = reach.lost_before + reach.lost_after(size)
    # In periods: a tile that is shorter than the image by `k` takes over at most `room - k` later.
    room = (mapped - lost) // period
    shorter = (count - 1) * room // count
    if shorter < count - 1:
        return None
    starts = tuple(index * shorter // (count - 1) * period for index in range(count))
    inner = (start + reach.lost_before for start in starts[1:])
    return Axis(size - shorter * reach.unit, reach.spacing, starts, (0, *inner, mapped))


@dataclass(frozen=True)
class Tiling:
    """An image cut into tiles of one size.

    Attributes:
        rows: down the image.
        columns: across it.
    """

    rows: Axis
    columns: Axis

    @property
    def count(self) -> int:
        """How many tiles."""
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def computed_pixels(self) -> int:
        """Image pixels of all tiles together."""
        return self.count * self.rows.length * self.columns.length

    @property
    def computed_twice(self) -> float:
        """Share of the image that is computed once more, because tiles overlap."""
        axes = (self.rows, self.columns)
        image = prod(axis.bounds[-1] * axis.spacing for axis in axes)
        return self.computed_pixels / image - 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a tile in image pixels."""
        return self.rows.length, self.columns.length

    def __str__(self) -> str:
        """Numbers and sizes, as a plan prints them."""
        height, width = self.size
        return (
            f"{len(self.rows.starts)}×{len(self.columns.starts)} tiles of {height}×{width} pixels"
        )


def tilings(reach: Reach, height: int, width: int) -> list[Tiling]:
    """Every sensible way to cut an image, the one with the fewest pixels computed twice first."""
    pairs = product(_cuts(reach, height), _cuts(reach, width))
    found = (Tiling(rows, columns) for rows, columns in pairs)
    several = (tiling for tiling in found if tiling.count > 1)
    return sorted(several, key=lambda tiling: tiling.computed_pixels)


def _cuts(reach: Reach, size: int) -> Iterator[Axis]:
    shortest = size + 1
    for count in range(1, size // reach.unit + 2):
        axis = cut(reach, size, count)
        if axis is None:
            return
        if axis.length < shortest:
            shortest = axis.length
            yield axis
