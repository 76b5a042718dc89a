"""Inspection on a CPU of images whose buffers memory does not hold: tile by tile."""

from itertools import product

import torch
from torch import Tensor

from pyramidflow.engine.cpu import CpuEngine
from pyramidflow.engine.plan import Plan
from pyramidflow.engine.settings import TrainedNetwork
from pyramidflow.engine.tiling import Tiling


class TiledEngine:
    """Anomaly maps as :class:`CpuEngine`'s, by one of the size of a tile.

    Tiles overlap by what a pixel of the map depends on, and the images' borders are tiles' borders,
    so that the maps are the whole images' up to rounding. The parts of template and running means
    that belong to a tile are read from the detector's own.

    Args:
        trained: the network, on the CPU.
        size: batch, height and width of the whole images in pixels.
        tiling: of :func:`pyramidflow.engine.tiling.tilings`.
        plan: of one tile, batch 1, made from :func:`pyramidflow.engine.cpu.demand`.
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
        self._engine = CpuEngine(trained, tile, plan, threads, part_of=(height, width))
        self.threads = self._engine.threads
        self.plan = plan.in_tiles(tiling)
        self.precision = self._engine.precision
        self._maps = torch.empty(batch, tiling.rows.bounds[-1], tiling.columns.bounds[-1])

    @torch.inference_mode()
    def anomaly_map(self, images: Tensor) -> Tensor:
        """Anomaly maps in the resolution of the feature map.

        Args:
            images: ``[B, H, W, 3]`` of the engine's size, uint8 or uint16.

        Returns:
            ``[B, h, w]``: the engine's own memory, overwritten by the next call.
        """
        for rows, columns in product(self._tiling.rows.spans(), self._tiling.columns.spans()):
            self._engine.move_to(rows.start, columns.start)
            for image, whole in zip(images, self._maps, strict=True):
                tile = self._engine.anomaly_map(image[None, rows.image, columns.image])
                whole[rows.given, columns.given] = tile[0, rows.kept, columns.kept]
        return self._maps

    @torch.inference_mode()
    def profile(self, images: Tensor, rounds: int = 5) -> list[tuple[str, float]]:
        """Where the time goes, as :meth:`CpuEngine.profile`; each step's time is all tiles'."""
        tile = images[:1, : self._tiling.rows.length, : self._tiling.columns.length]
        runs = len(images) * self._tiling.count
        return [(name, runs * found) for name, found in self._engine.profile(tile, rounds)]
