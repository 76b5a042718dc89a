"""Inspection on a CPU: frozen networks on the compiled kernels, whole or in tiles.

:func:`plan` says how, :func:`make` allocates it; what that gives has ``inspect``. ``README.md``
beside this file explains the spectral convolution.
"""

from pyramidflow.runtime.cpu.budget import plan_within_budget
from pyramidflow.runtime.cpu.network_plan import Plan
from pyramidflow.runtime.cpu.runtime import CpuRuntime
from pyramidflow.runtime.cpu.side_by_side import SideBySideRuntime, lanes_of
from pyramidflow.runtime.cpu.threads import usable_threads
from pyramidflow.runtime.cpu.tiled import TiledRuntime
from pyramidflow.runtime.inspection_settings import InspectionSettings
from pyramidflow.runtime.trained_network import TrainedNetwork

__all__ = ["CpuRuntime", "Plan", "SideBySideRuntime", "TiledRuntime", "make", "plan"]


def plan(
    trained: TrainedNetwork,
    size: tuple[int, int],
    settings: InspectionSettings | None = None,
    *,
    images: int = 1,
) -> Plan:
    """How images would be inspected; nothing is allocated.

    Args:
        trained: the network, on the CPU.
        size: height and width of the images in pixels.
        settings: threads, budget and precision; by default PyTorch's threads, and float32 by the
            fastest plan.
        images: in a batch.

    Raises:
        InputError: the memory budget is too small, or the processor has not the precision.
    """
    return plan_within_budget(trained, size, settings or InspectionSettings(), images)


def make(
    trained: TrainedNetwork,
    size: tuple[int, int],
    settings: InspectionSettings | None = None,
    *,
    images: int = 1,
) -> CpuRuntime | SideBySideRuntime | TiledRuntime:
    """A runtime that keeps to a memory budget: of whole images where that allows it, else in tiles.

    Without a budget, small images are inspected several at once where several are given.

    Args:
        trained: the network, on the CPU; it must not change while the runtime is used.
        size: height and width of the images in pixels.
        settings: as :func:`plan`'s.
        images: in a batch.

    Raises:
        InputError: the memory budget is too small, or the processor has not the precision.
    """
    settings = settings or InspectionSettings()
    found = plan(trained, size, settings, images=images)
    if found.tiling is not None:
        return TiledRuntime(trained, (images, *size), found, settings.threads)
    threads = usable_threads(settings.threads)
    lanes = lanes_of(found, threads) if images == 1 else 1
    if lanes > 1:
        return SideBySideRuntime(trained, size, found, threads, lanes)
    return CpuRuntime(trained, (images, *size), found, threads)
