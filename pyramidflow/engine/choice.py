"""Whether images are inspected whole or in tiles: what a memory budget allows."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

from torch import Tensor

from pyramidflow.engine.cpu import CpuEngine, demand
from pyramidflow.engine.plan import Plan, least_bytes, make_plan
from pyramidflow.engine.tiles import TiledEngine
from pyramidflow.engine.tiling import Tiling, map_reach, tilings
from pyramidflow.errors import InputError
from pyramidflow.model import PyramidFlow
from pyramidflow.model.encoder import CustomEncoder

ENGINE_RESERVE = 64 << 20
"""Bytes of a memory budget that are left to the allocator and the rest."""

INSPECTION_BYTES = 32
"""Bytes for each pixel of an image that are left to what surrounds an engine: the decoded and the
resized picture, the map and its search for regions."""

TRIALS = 4
"""Tilings that fit of which the one expected to be fastest is taken."""


def make_engine(
    network: PyramidFlow,
    template: Sequence[Tensor],
    size: tuple[int, int, int],
    mean: Tensor,
    std: Tensor,
    *,
    threads: int | None = None,
    memory_budget: int | None = None,
    bfloat16: bool = False,
) -> CpuEngine | TiledEngine:
    """An engine on the CPU that keeps to a memory budget.

    Images are inspected whole where the smallest plan for that fits, else in tiles.

    Args:
        network: in evaluation mode, on the CPU.
        template: mean latents, levels ``[1, C, h_d, w_d]``, finest first.
        size: batch, height and width of the images in pixels.
        mean: ``[3]``, of images scaled to [0, 1].
        std: ``[3]``, likewise.
        threads: how many to use; ``None`` takes PyTorch's number.
        memory_budget: bytes that the process may have at its peak, everything included; ``None``
            for whole images and the fastest plan.
        bfloat16: whether the convolutions' products round their operands to it.

    Raises:
        InputError: the memory budget is too small, or the processor has no products of bfloat16.
    """
    if memory_budget is None:
        return CpuEngine(network, template, size, mean, std, threads=threads, bfloat16=bfloat16)
    around = ENGINE_RESERVE + INSPECTION_BYTES * prod(size)
    available = memory_budget - resident_bytes() - around
    needed = demand(network, template, size)
    least = least_bytes(*needed, available, bfloat16)
    if least <= available:
        plan = make_plan(*needed, available, bfloat16)
        return CpuEngine(network, template, size, mean, std, threads=threads, plan=plan)
    if isinstance(network.encoder, CustomEncoder):
        raise _too_small(available, least, ", an encoder of one's own not working in tiles")
    available -= 4 * prod(size)  # the map
    fitting: list[tuple[Tiling, Plan]] = []
    for tiling in tilings(map_reach(network), *size[1:]):
        needed = demand(network, template, (1, *tiling.size), is_part=True)
        tile_least = least_bytes(*needed, available, bfloat16)
        least = min(least, tile_least)
        if tile_least <= available:
            fitting.append((tiling, make_plan(*needed, available, bfloat16)))
        if len(fitting) == TRIALS:
            break
    if not fitting:
        raise _too_small(available, least, ", even in tiles")
    tiling, plan = min(fitting, key=lambda found: found[1].in_tiles(found[0]).milliseconds)
    return TiledEngine(network, template, size, mean, std, tiling, threads=threads, plan=plan)


def _too_small(available: int, least: int, why: str) -> InputError:
    return InputError(
        f"the memory budget leaves {max(available, 0) / 1e6:.0f} MB for inspecting, but at least "
        f"{least / 1e6:.0f} MB are needed{why}: give more, or inspect at a smaller image size."
    )


def resident_bytes() -> int:
    """Memory that this process has now; 0 where the system does not tell."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 0
    import resource

    return int(statistics.read_text().split()[1]) * resource.getpagesize()
