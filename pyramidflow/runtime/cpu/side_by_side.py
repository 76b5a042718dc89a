"""Inspection on a CPU of several images at once, each on its share of the threads."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch
from torch import Tensor

from pyramidflow.runtime.cpu.network_plan import Plan
from pyramidflow.runtime.cpu.runtime import CpuRuntime
from pyramidflow.runtime.trained_network import TrainedNetwork

MOST_LANES: Final = 8
"""Images at once, at most."""

MOST_LANE_BYTES: Final = 128_000_000
"""Memory of one more image on its way, at most: larger images keep all threads busy alone."""


def lanes_of(plan: Plan, threads: int) -> int:
    """Images that are worth inspecting at once: a power of two, 1 where they are not.

    Small images leave threads idle at the end of every layer, so that two on one thread each are
    done sooner than two after each other on both. Large images do not, and need much memory.

    Args:
        plan: of one image.
        threads: that there are.
    """
    lane_bytes = plan.buffer_bytes + plan.workspace_bytes
    if plan.memory_budget is not None or lane_bytes > MOST_LANE_BYTES:
        return 1
    return 1 << (min(threads, MOST_LANES).bit_length() - 1)


class SideBySideRuntime:
    """One image on all threads, or :attr:`at_once` images side by side; the bits are the same.

    Each image that is on its way has buffers of its own; the weights are shared.

    Args:
        trained: the network, on the CPU.
        size: height and width of the images in pixels.
        plan: of one image.
        threads: how many to use, at least two.
        lanes: images at once.

    Raises:
        InputError: as :class:`CpuRuntime`.
    """

    def __init__(
        self,
        trained: TrainedNetwork,
        size: tuple[int, int],
        plan: Plan,
        threads: int,
        lanes: int,
    ) -> None:
        one = (1, *size)
        self.size = one
        self.at_once = lanes
        self.plan = plan
        self.threads = threads
        self._whole = CpuRuntime(trained, one, plan, threads)
        spectra = self._whole.spectra
        self._lanes = [
            CpuRuntime(trained, one, plan, threads // lanes, spectra=spectra) for _ in range(lanes)
        ]
        self.precision = self._whole.precision
        self._maps = torch.empty(lanes, *self._whole.feature_size)
        self._workers = ThreadPoolExecutor(lanes, "inspection")

    def inspect(self, images: Tensor) -> Tensor:
        """Anomaly maps in the resolution of the feature map.

        Args:
            images: ``[B, H, W, 3]`` of the runtime's size, uint8 or uint16; 1 to :attr:`at_once`.

        Returns:
            ``[B, h, w]``: the runtime's own memory, overwritten by the next call.
        """
        maps = self._maps[: len(images)]
        parts, targets = torch.split(images, 1), torch.split(maps, 1)
        if len(images) == self.at_once:
            list(self._workers.map(_inspect, self._lanes, parts, targets))
        else:
            for part, target in zip(parts, targets, strict=True):
                _inspect(self._whole, part, target)
        return maps

    def profile(self, images: Tensor, rounds: int = 5) -> Sequence[tuple[str, float]]:
        """Where the time of one image alone goes, as :meth:`CpuRuntime.profile`."""
        return self._whole.profile(images, rounds)


def _inspect(runtime: CpuRuntime, images: Tensor, maps: Tensor) -> None:
    # A copy on more threads would wake a team whose threads then wait busily on other lanes' cores.
    with torch.inference_mode(), runtime.using_threads():
        maps.copy_(runtime.inspect(images))
