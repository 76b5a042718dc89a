"""Inspection on a CPU of images whose buffers memory does not hold: tile by tile."""

import time
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from statistics import median

import torch
from torch import Tensor

from pyramidflow.runtime.cpu.convolution import channels_last
from pyramidflow.runtime.cpu.plan import Plan
from pyramidflow.runtime.cpu.runtime import CpuRuntime
from pyramidflow.runtime.cpu.tiling import Span, Tiling
from pyramidflow.runtime.settings import TrainedNetwork


class TiledRuntime:
    """Anomaly maps as :class:`CpuRuntime`'s, by one of the size of a tile.

    Tiles overlap by what a pixel of the map depends on, and the images' borders are tiles' borders,
    so that the maps are the whole images' up to rounding. The parts of template and running means
    that belong to a tile are read from the detector's own. Where the contrast takes means over the
    image's pixels off, all tiles are computed twice: first for the means.

    Args:
        trained: the network, on the CPU.
        size: batch, height and width of the whole images in pixels.
        tiling: of :func:`pyramidflow.runtime.cpu.tiling.tilings`.
        plan: of one tile, batch 1, made from :func:`pyramidflow.runtime.cpu.runtime.demand`.
        threads: how many to use; ``None`` takes PyTorch's number.

    Raises:
        InputError: template or running means are those of another image size, or the processor has
            no products of bfloat16.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        size: tuple[int, int, int],
        tiling: Tiling,
        plan: Plan,
        threads: int | None = None,
    ) -> None:
        batch, height, width = size
        self.size = size
        self._tiling = tiling
        tile = (1, *tiling.size)
        self._runtime = CpuRuntime(trained, tile, plan, threads, part_of=(height, width))
        self.threads = self._runtime.threads
        features = trained.network.feature_size(height, width)
        self._shapes = trained.network.latent_shapes(1, features)
        self._normal_means = self._runtime.normal_means
        self._passes = 1 if self._normal_means is None else 2
        self.plan = plan.in_tiles(tiling, self._passes)
        self.precision = self._runtime.precision
        self._maps = torch.empty(batch, tiling.rows.bounds[-1], tiling.columns.bounds[-1])

    @torch.inference_mode()
    def inspect(self, images: Tensor) -> Tensor:
        """Anomaly maps in the resolution of the feature map.

        Args:
            images: ``[B, H, W, 3]`` of the runtime's size, uint8 or uint16.

        Returns:
            ``[B, h, w]``: the runtime's own memory, overwritten by the next call.
        """
        shifts = None if self._normal_means is None else self._shifts(images, self._normal_means)
        for rows, columns in self._places():
            for index, (image, whole) in enumerate(zip(images, self._maps, strict=True)):
                if shifts is not None:
                    self._runtime.take_off(shifts[index])
                tile = self._runtime.inspect(image[None, rows.image, columns.image])
                whole[rows.given, columns.given] = tile[0, rows.kept, columns.kept]
        return self._maps

    def _places(self) -> Iterator[tuple[Span, Span]]:
        for rows, columns in product(self._tiling.rows.spans(), self._tiling.columns.spans()):
            self._runtime.move_to(rows.start, columns.start)
            yield rows, columns

    def _shifts(self, images: Tensor, normal_means: Sequence[Tensor]) -> list[list[Tensor]]:
        """Of each image what its channels are off as a whole: levels ``[C]``."""
        sums = [[torch.zeros_like(m, dtype=torch.float64) for m in normal_means] for _ in images]
        for rows, columns in self._places():
            for image, totals in zip(images, sums, strict=True):
                latents = self._runtime.latents(image[None, rows.image, columns.image])
                for level, (z, total) in enumerate(zip(latents, totals, strict=True)):
                    part = z[0, :, rows.kept_at(level), columns.kept_at(level)]
                    total += part.sum((1, 2), dtype=torch.float64)
        pixels = [prod(shape[2:]) for shape in self._shapes]
        normal = list(zip(pixels, normal_means, strict=True))
        return [
            [total / count - mean for total, (count, mean) in zip(totals, normal, strict=True)]
            for totals in sums
        ]

    @torch.inference_mode()
    def profile(self, images: Tensor, rounds: int = 5) -> list[tuple[str, float]]:
        """Where the time goes, as :meth:`CpuRuntime.profile`; each step's time is all tiles'."""
        tile = images[:1, : self._tiling.rows.length, : self._tiling.columns.length]
        runs = len(images) * self._tiling.count * self._passes
        return [(name, runs * found) for name, found in self._runtime.profile(tile, rounds)]


class AssembledRuntime(TiledRuntime):
    """A tiled runtime whose latents are compared when those of all tiles lie side by side.

    For comparisons that are not local. Arguments and errors are :class:`TiledRuntime`'s.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        size: tuple[int, int, int],
        tiling: Tiling,
        plan: Plan,
        threads: int | None = None,
    ) -> None:
        super().__init__(trained, size, tiling, plan, threads)
        self._levels = [channels_last(*shape) for shape in self._shapes]
        self._comparison = trained.comparison.to(self._levels[0].device, torch.float32)

    @torch.inference_mode()
    def inspect(self, images: Tensor) -> Tensor:
        """As :meth:`TiledRuntime.inspect`."""
        for image, whole in zip(images, self._maps, strict=True):
            for rows, columns in self._places():
                latents = self._runtime.latents(image[None, rows.image, columns.image])
                for level, (z, target) in enumerate(zip(latents, self._levels, strict=True)):
                    _take(target, z, level, rows, columns)
            whole.copy_(self._compare()[0, : whole.shape[0], : whole.shape[1]])
        return self._maps

    def _compare(self) -> Tensor:
        with self._runtime.using_threads():
            return self._comparison.map_of(self._levels)

    @torch.inference_mode()
    def profile(self, images: Tensor, rounds: int = 5) -> list[tuple[str, float]]:
        """As :meth:`TiledRuntime.profile`, and the comparison behind the tiles."""
        found = super().profile(images, rounds)
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            self._compare()
            times.append(1e3 * (time.perf_counter() - start))
        return [*found, ("anomaly map", len(images) * median(times))]


def _take(target: Tensor, z: Tensor, level: int, rows: Span, columns: Span) -> None:
    """Copy the pixels that belong to a tile from its latents to the whole image's."""
    down, across = rows.kept_at(level), columns.kept_at(level)
    part = z[:, :, down, across]
    top, left = (rows.start >> level) + down.start, (columns.start >> level) + across.start
    target[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
