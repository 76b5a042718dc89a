"""How an image is cut into tiles whose maps, put together, are the whole image's.

A pixel of the anomaly map depends on a bounded part of the image. A tile's map is right where that
part lies inside the tile, and at the borders of the image itself, where the tile sees what the
whole image sees: nothing beyond.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from math import prod

from pyramidflow.errors import InputError
from pyramidflow.model import PyramidFlow
from pyramidflow.model.coupling import (
    CouplingBlock,
    DualCoupling,
    SingleDownCoupling,
    SingleUpCoupling,
)
from pyramidflow.model.encoder import LayeredNetwork, Lift, inner
from pyramidflow.model.layers import Layer, Residual

BLUR = 2
"""Radius of the pyramid's filter."""


@dataclass(frozen=True)
class Reach:
    """Which image pixels each pixel of a signal depends on, along one axis of an endless image.

    Pixel ``q`` depends on ``spacing · q + first … spacing · q + last``, the pair being that of
    ``q`` modulo the number of pairs.

    Attributes:
        spacing: image pixels between neighbours.
        spans: ``first`` and ``last``, for each place in a period.
    """

    spacing: int
    spans: tuple[tuple[int, int], ...]

    def window(self, first: int, last: int) -> "Reach":
        """Of a signal whose pixel ``q`` reads ``q + first … q + last`` of this one."""
        period = len(self.spans)
        read = [
            [(i * self.spacing, self.spans[(q + i) % period]) for i in range(first, last + 1)]
            for q in range(period)
        ]
        spans = (
            (min(at + span[0] for at, span in reads), max(at + span[1] for at, span in reads))
            for reads in read
        )
        return Reach(self.spacing, tuple(spans))

    def halved(self) -> "Reach":
        """Of every other pixel, the first one included."""
        return Reach(2 * self.spacing, self.spans[::2])

    def doubled(self) -> "Reach":
        """Of each pixel twice."""
        spacing = self.spacing // 2
        moved = ((a - odd * spacing, b - odd * spacing) for a, b in self.spans for odd in (0, 1))
        return Reach(spacing, tuple(moved))

    def joined(self, other: "Reach") -> "Reach":
        """Of a signal that reads both at the same place."""
        pairs = zip(self.spans, other.spans, strict=True)
        return Reach(self.spacing, tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs))

    @cached_property
    def lost_before(self) -> int:
        """Pixels of the signal that are wrong where the image is cut off before its pixel 0."""
        period = len(self.spans)
        return max(
            # The last pixel at this place of the period that reads a negative one.
            max(0, q + period * ((-first - 1 - self.spacing * q) // (self.spacing * period)) + 1)
            for q, (first, _) in enumerate(self.spans)
        )

    def lost_after(self, size: int) -> int:
        """Pixels of the signal that are wrong where the image is cut off after ``size`` pixels."""
        kept = min(
            # The first pixel at this place of the period that reads pixel `size` or one after it.
            q + len(self.spans) * -(-(size - last - self.spacing * q) // self.unit)
            for q, (_, last) in enumerate(self.spans)
        )
        return -(-size // self.spacing) - kept

    @property
    def unit(self) -> int:
        """Image pixels of a period: a cut at a multiple of it moves every level's pixels alike."""
        return self.spacing * len(self.spans)


def map_reach(network: PyramidFlow) -> Reach:
    """Which image pixels a pixel of the anomaly map depends on.

    Followed through the network as it is: encoder, decomposition, coupling blocks, composition.

    Raises:
        InputError: it is not known how far the encoder looks, see :func:`is_known`.
    """
    levels = network.architecture.levels
    reach = [_feature_reach(network, 1 << (levels - 1))]
    cell = int(network.pyramid.reduction == "max")  # pixels that a coarse one reads, less one
    for _ in range(levels - 1):
        reach.append(reach[-1].window(-BLUR, BLUR + cell).halved())
    reach[:-1] = [fine.joined(_up_sampled(coarse)) for fine, coarse in pairwise(reach)]
    radius = network.architecture.kernel_size // 2
    for block in network.flow.blocks:
        assert isinstance(block, CouplingBlock)
        params = _params_reach(block, reach, 2 * radius)
        reach[block.level] = reach[block.level].joined(params)
    composed = reach[-1]
    for residual in reach[-2::-1]:
        composed = _up_sampled(composed).joined(residual)
    return composed


def is_known(network: PyramidFlow) -> bool:
    """Whether it is known how far the encoder looks, so that images can be cut into tiles."""
    return isinstance(inner(network.encoder), Lift | LayeredNetwork)


def _feature_reach(network: PyramidFlow, period: int) -> Reach:
    encoder = inner(network.encoder)
    if isinstance(encoder, Lift):
        return Reach(1, ((0, 0),) * period)
    if not isinstance(encoder, LayeredNetwork):
        raise InputError(
            f"how far the encoder {network.architecture.encoder} looks is not known, so it cannot "
            "work in tiles: use another one."
        )
    strides = encoder.strides
    pixels = Reach(1, ((0, 0),) * (strides[-1] * period))
    reach = _layers_reach(pixels, encoder.layers(encoder.chosen[0]))
    for stage, stride in zip(encoder.chosen[1:], strides[1:], strict=True):
        coarse = _layers_reach(pixels, encoder.layers(stage))
        if stride > strides[0]:
            coarse = coarse.window(-1, 1)  # that bilinear up-sampling reads
        while coarse.spacing > strides[0]:
            coarse = coarse.doubled()
        reach = reach.joined(coarse)
    return reach


def _layers_reach(reach: Reach, layers: Sequence[Layer]) -> Reach:
    for layer in layers:
        if isinstance(layer, Residual):
            reach = reach.joined(_layers_reach(reach, layer.layers))
            continue
        reach = reach.window(*layer.window)
        for _ in range(layer.stride.bit_length() - 1):
            reach = reach.halved()
    return reach


def _params_reach(block: CouplingBlock, reach: list[Reach], radius: int) -> Reach:
    if isinstance(block, SingleUpCoupling):
        return reach[1].doubled().window(-radius, radius)
    above = reach[block.level - 1]
    if isinstance(block, SingleDownCoupling):
        return above.window(-radius, radius).halved()
    assert isinstance(block, DualCoupling)
    return above.halved().joined(reach[block.level + 1].doubled()).window(-radius, radius)


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
