"""Whether images are inspected whole or in tiles: what a memory budget allows."""

from math import ceil, prod
from pathlib import Path

from pyramidflow.errors import InputError
from pyramidflow.runtime.cpu.plan import Plan, least_bytes, make_plan
from pyramidflow.runtime.cpu.runtime import CpuRuntime, demand
from pyramidflow.runtime.cpu.tiled import AssembledRuntime, TiledRuntime
from pyramidflow.runtime.cpu.tiling import Tiling, map_reach, tilings
from pyramidflow.runtime.settings import Settings, TrainedNetwork

RUNTIME_RESERVE = 64 << 20
"""Bytes of a memory budget that are left to the allocator and the rest."""

INSPECTION_BYTES = 32
"""Bytes for each pixel of an image that are left to what surrounds a runtime: the decoded and the
resized picture, the map and its search for regions."""

TRIALS = 4
"""Tilings that fit of which the one expected to be fastest is taken."""


def make_runtime(
    trained: TrainedNetwork, size: tuple[int, int, int], settings: Settings | None = None
) -> CpuRuntime | TiledRuntime:
    """A runtime on the CPU that keeps to a memory budget.

    Images are inspected whole where the smallest plan for that fits, else in tiles.

    Args:
        trained: the network, on the CPU.
        size: batch, height and width of the images in pixels.
        settings: threads, budget and precision; by default PyTorch's threads, and float32 by the
            fastest plan.

    Raises:
        InputError: the memory budget is too small, or the processor has not the precision.
    """
    settings = settings or Settings()
    bfloat16, threads = settings.precision_on("cpu") == "bfloat16", settings.threads
    needed = demand(trained, size)
    if settings.memory_budget is None:
        return CpuRuntime(trained, size, make_plan(*needed, None, bfloat16), threads)
    around = RUNTIME_RESERVE + INSPECTION_BYTES * prod(size)
    available = settings.memory_budget - resident_bytes() - around
    least = least_bytes(*needed, available, bfloat16)
    if least <= available:
        return CpuRuntime(trained, size, make_plan(*needed, available, bfloat16), threads)
    reach = map_reach(trained.network.architecture)
    if reach is None:
        total = settings.memory_budget - available + least
        name = trained.network.architecture.encoder
        raise _too_small(
            settings.memory_budget, total, f"; the encoder {name} does not work in tiles"
        )
    available -= 4 * prod(size)  # the map
    tiled = TiledRuntime
    if not trained.comparison.is_local:
        tiled = AssembledRuntime
        shapes = trained.network.latent_shapes(1, trained.network.feature_size(*size[1:]))
        available -= 4 * sum(map(prod, shapes)) + 4 * trained.comparison.working_floats(shapes)
    fitting: list[tuple[Tiling, Plan]] = []
    for tiling in tilings(reach, *size[1:]):
        needed = demand(trained, (1, *tiling.size), is_part=True)
        tile_least = least_bytes(*needed, available, bfloat16)
        least = min(least, tile_least)
        if tile_least <= available:
            fitting.append((tiling, make_plan(*needed, available, bfloat16)))
        if len(fitting) == TRIALS:
            break
    if not fitting:
        total = settings.memory_budget - available + least
        raise _too_small(settings.memory_budget, total, ", even in tiles")
    tiling, plan = min(fitting, key=lambda found: found[1].in_tiles(found[0]).milliseconds)
    return tiled(trained, size, tiling, plan, threads)


def _too_small(budget: int, needed: int, why: str) -> InputError:
    given = f"{budget:,} bytes" if budget < 1_000_000 else f"{budget / 1e6:,.0f} MB"
    return InputError(
        f"the memory budget is {given}: this process needs at least "
        f"{ceil(needed / 1e6)} MB{why}; give more, or train for a smaller image size."
    )


def resident_bytes() -> int:
    """Memory that this process has now; 0 where the system does not tell."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 0
    import resource

    return int(statistics.read_text().split()[1]) * resource.getpagesize()
