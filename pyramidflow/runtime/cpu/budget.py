"""Whether images are inspected whole or in tiles: what a memory budget allows."""

from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path

from pyramidflow.errors import InputError
from pyramidflow.model import Contrast
from pyramidflow.runtime.cpu.demand import demand
from pyramidflow.runtime.cpu.network_plan import Plan, least_bytes, make_plan
from pyramidflow.runtime.cpu.tiling import map_reach, tilings
from pyramidflow.runtime.inspection_settings import InspectionSettings
from pyramidflow.runtime.trained_network import TrainedNetwork

RUNTIME_RESERVE = 64 << 20
"""Bytes of a memory budget that are left to the allocator and the rest."""

INSPECTION_BYTES = 32
"""Bytes for each pixel of an image that are left to what surrounds a runtime: the decoded and the
resized picture, the map and its search for regions."""

TRIALS = 4
"""Tilings that fit of which the one expected to be fastest is taken."""


def plan_within_budget(
    trained: TrainedNetwork, size: tuple[int, int], settings: InspectionSettings, images: int
) -> Plan:
    """The plan of whole images where the smallest one fits, else of tiles.

    Args:
        trained: the network, on the CPU.
        size: height and width of the images in pixels.
        settings: budget and precision.
        images: in a batch.

    Raises:
        InputError: the memory budget is too small.
    """
    budget, bfloat16 = settings.memory_budget, settings.precision_on("cpu") == "bfloat16"
    needed = demand(trained, (images, *size))
    if budget is None:
        return make_plan(*needed, None, bfloat16)
    around = RUNTIME_RESERVE + INSPECTION_BYTES * images * prod(size)
    available = budget - resident_bytes() - around
    least = least_bytes(*needed, available, bfloat16)
    if least <= available:
        return make_plan(*needed, available, bfloat16)
    left = _Left(budget, available, least, bfloat16)
    if map_reach(trained.network.architecture) is None:
        name = trained.network.architecture.encoder
        raise left.too_small(least, f"; the encoder {name} does not work in tiles")
    return _plan_in_tiles(trained, size, left.without(_assembled_bytes(trained, size, images)))


@dataclass(frozen=True)
class _Left:
    """What a budget leaves for inspecting, and the least that was found to be needed for it."""

    budget: int
    available: int
    least: int
    bfloat16: bool

    def without(self, taken: int) -> "_Left":
        return _Left(self.budget, self.available - taken, self.least, self.bfloat16)

    def too_small(self, least: int, why: str) -> InputError:
        given = (
            f"{self.budget:,} bytes" if self.budget < 1_000_000 else f"{self.budget / 1e6:,.0f} MB"
        )
        needed = ceil((self.budget - self.available + least) / 1e6)
        return InputError(
            f"the memory budget is {given}: this process needs at least {needed} MB{why}; give "
            "more, or train for a smaller image size."
        )


def _plan_in_tiles(trained: TrainedNetwork, size: tuple[int, int], left: _Left) -> Plan:
    """The plan of the tiling that is expected to be fastest, of the first few that fit."""
    reach = map_reach(trained.network.architecture)
    assert reach is not None
    comparison, least = trained.comparison, left.least
    # The means of a whole image are known only when all of its tiles were computed once.
    passes = 2 if isinstance(comparison, Contrast) and comparison.without_mean else 1
    fitting: list[Plan] = []
    for tiling in tilings(reach, *size):
        needed = demand(trained, (1, *tiling.size), is_part=True)
        tile_least = least_bytes(*needed, left.available, left.bfloat16)
        least = min(least, tile_least)
        if tile_least <= left.available:
            plan = make_plan(*needed, left.available, left.bfloat16)
            fitting.append(plan.in_tiles(tiling, passes))
        if len(fitting) == TRIALS:
            break
    if not fitting:
        raise left.too_small(least, ", even in tiles")
    return min(fitting, key=lambda found: found.milliseconds)


def _assembled_bytes(trained: TrainedNetwork, size: tuple[int, int], images: int) -> int:
    """Of what tiles are put together to: the map, and latents that are compared as a whole."""
    found = 4 * images * prod(size)
    if not trained.comparison.is_local:
        network = trained.network
        shapes = network.latent_shapes(1, network.feature_size(*size))
        found += 4 * sum(map(prod, shapes)) + 4 * trained.comparison.working_floats(shapes)
    return found


def resident_bytes() -> int:
    """Memory that this process has now; 0 where the system does not tell."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():
        return 0
    import resource

    return int(statistics.read_text().split()[1]) * resource.getpagesize()
