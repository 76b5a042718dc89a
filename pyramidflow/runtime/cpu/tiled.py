"""Inspection on a CPU of images whose buffers memory does not hold: tile by tile."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from statistics import median

import torch
from torch import Tensor

from pyramidflow.model import Comparison
from pyramidflow.runtime.cpu.convolution import channels_last
from pyramidflow.runtime.cpu.network_plan import Plan
from pyramidflow.runtime.cpu.runtime import CpuRuntime
from pyramidflow.runtime.cpu.tiling import Span, Tiling
from pyramidflow.runtime.trained_network import TrainedNetwork


class TiledRuntime:
    """Anomaly maps as :class:`CpuRuntime`'s, by one of the size of a tile.

    Tiles overlap by what a pixel of the map depends on, and the images' borders are tiles' borders,
    so that the maps are the whole images' up to rounding. The parts of template and running means
    that belong to a tile are read from the detector's own. A comparison that is local is made in
    each tile; else the latents of all tiles are laid side by side before.

    Args:
        trained: the network, on the CPU.
        size: batch, height and width of the whole images in pixels.
        plan: of one tile, with the tiling.
        threads: how many to use; ``None`` takes PyTorch's number.

    Raises:
        InputError: template or running means are those of another image size, or the processor has
            no products of bfloat16.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        size: tuple[int, int, int],
        plan: Plan,
        threads: int | None = None,
    ) -> None:
        assert plan.tiling is not None
        batch, height, width = size
        self.size = size
        self.at_once = batch
        tiles = CpuRuntime(trained, (1, *plan.tiling.size), plan, threads, part_of=(height, width))
        self._tiles = _Tiles(tiles, plan.tiling)
        self.threads, self.precision = tiles.threads, tiles.precision
        shapes = trained.network.latent_shapes(1, trained.network.feature_size(height, width))
        self._assembly: _MapsSideBySide | _LatentsSideBySide
        if trained.comparison.is_local:
            self._assembly = _MapsSideBySide(self._tiles, [prod(shape[2:]) for shape in shapes])
        else:
            self._assembly = _LatentsSideBySide(self._tiles, trained.comparison, shapes)
        self.plan = replace(plan, passes=self._assembly.passes)
        self._maps = torch.empty(batch, plan.tiling.rows.bounds[-1], plan.tiling.columns.bounds[-1])

    @torch.inference_mode()
    def inspect(self, images: Tensor) -> Tensor:
        """See :meth:`CpuRuntime.inspect`."""
        self._assembly.run(images, self._maps)
        return self._maps

    @torch.inference_mode()
    def profile(self, images: Tensor, rounds: int = 5) -> list[tuple[str, float]]:
        """Where the time goes, as :meth:`CpuRuntime.profile`; each step's time is all tiles'."""
        tiling = self._tiles.tiling
        tile = images[:1, : tiling.rows.length, : tiling.columns.length]
        runs = len(images) * tiling.count * self._assembly.passes
        found = [(name, runs * each) for name, each in self._tiles.runtime.profile(tile, rounds)]
        return [*found, *self._assembly.profile(len(images), rounds)]


class _Tiles:
    """One runtime that is moved from tile to tile."""

    def __init__(self, runtime: CpuRuntime, tiling: Tiling) -> None:
        self.runtime, self.tiling = runtime, tiling

    def __iter__(self) -> Iterator[tuple[Span, Span]]:
        for rows, columns in product(self.tiling.rows.spans(), self.tiling.columns.spans()):
            self.runtime.move_to(rows.start, columns.start)
            yield rows, columns


class _MapsSideBySide:
    """Each tile's map is a part of the image's.

    Where the contrast takes means over the image's pixels off, all tiles are computed twice: first
    for the means.
    """

    def __init__(self, tiles: _Tiles, pixels: Sequence[int]) -> None:
        self._tiles, self._pixels = tiles, pixels
        self._normal_means = tiles.runtime.normal_means
        self.passes = 1 if self._normal_means is None else 2

    def run(self, images: Tensor, maps: Tensor) -> None:
        shifts = None if self._normal_means is None else self._shifts(images, self._normal_means)
        runtime = self._tiles.runtime
        for rows, columns in self._tiles:
            for index, (image, whole) in enumerate(zip(images, maps, strict=True)):
                if shifts is not None:
                    runtime.take_off(shifts[index])
                tile = runtime.inspect(image[None, rows.image, columns.image])
                whole[rows.given, columns.given] = tile[0, rows.kept, columns.kept]

    def _shifts(self, images: Tensor, normal_means: Sequence[Tensor]) -> list[list[Tensor]]:
        """Of each image what its channels are off as a whole: levels ``[C]``."""
        sums = [[torch.zeros_like(m, dtype=torch.float64) for m in normal_means] for _ in images]
        for rows, columns in self._tiles:
            for image, totals in zip(images, sums, strict=True):
                latents = self._tiles.runtime.latents(image[None, rows.image, columns.image])
                for level, (z, total) in enumerate(zip(latents, totals, strict=True)):
                    part = z[0, :, rows.kept_at(level), columns.kept_at(level)]
                    total += part.sum((1, 2), dtype=torch.float64)
        normal = list(zip(self._pixels, normal_means, strict=True))
        return [
            [total / count - mean for total, (count, mean) in zip(totals, normal, strict=True)]
            for totals in sums
        ]

    def profile(self, images: int, rounds: int) -> list[tuple[str, float]]:
        """Nothing: what is compared is part of each tile."""
        return []


class _LatentsSideBySide:
    """The latents of all tiles are laid side by side, and compared as a whole."""

    passes = 1

    def __init__(
        self,
        tiles: _Tiles,
        comparison: Comparison,
        shapes: Sequence[tuple[int, int, int, int]],
    ) -> None:
        self._tiles = tiles
        self._levels = [channels_last(*shape) for shape in shapes]
        self._comparison = comparison.to(self._levels[0].device, torch.float32)

    def run(self, images: Tensor, maps: Tensor) -> None:
        for image, whole in zip(images, maps, strict=True):
            for rows, columns in self._tiles:
                latents = self._tiles.runtime.latents(image[None, rows.image, columns.image])
                for level, (z, target) in enumerate(zip(latents, self._levels, strict=True)):
                    _take(target, z, level, rows, columns)
            whole.copy_(self._compare()[0, : whole.shape[0], : whole.shape[1]])

    def _compare(self) -> Tensor:
        with self._tiles.runtime.using_threads():
            return self._comparison.map_of(self._levels)

    def profile(self, images: int, rounds: int) -> list[tuple[str, float]]:
        """The comparison behind the tiles."""
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            self._compare()
            times.append(1e3 * (time.perf_counter() - start))
        return [("anomaly map", images * median(times))]


def _take(target: Tensor, z: Tensor, level: int, rows: Span, columns: Span) -> None:
    """Copy the pixels that belong to a tile from its latents to the whole image's."""
    down, across = rows.kept_at(level), columns.kept_at(level)
    part = z[:, :, down, across]
    top, left = (rows.start >> level) + down.start, (columns.start >> level) + across.start
    target[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
