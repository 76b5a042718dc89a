"""Tilings and what pixels depend on, for the tests of tiles."""

import torch
from torch import Tensor

from pyramidflow import ops
from pyramidflow.model import Comparison, Contrast, PyramidFlow
from pyramidflow.runtime.cpu import TiledRuntime
from pyramidflow.runtime.cpu.demand import demand
from pyramidflow.runtime.cpu.network_plan import make_plan
from pyramidflow.runtime.cpu.tiling import Tiling, cut, map_reach
from tests.support.runtime_cases import trained


def dependencies(network: PyramidFlow, first: int, last: int, size: int) -> Tensor:
    """Which pixels of the map (in one row) change with which columns of the image: measured."""
    generator = torch.Generator().manual_seed(2)
    shape = (3, 16, size)
    image = torch.randn(shape, generator=generator, dtype=torch.float64)
    other = torch.randn(shape, generator=generator, dtype=torch.float64)
    with torch.no_grad(), ops.use_backend("reference"):
        contrast = Contrast([torch.zeros_like(z) for z in network(image[None])])
        expected = network.anomaly_map(image[None], contrast)
        changed = []
        for column in range(first, last + 1):
            changed_image = image.clone()
            changed_image[:, :, column] += 100 * other[:, :, column]
            found = network.anomaly_map(changed_image[None], contrast)
            changed.append((found != expected).any(1)[0])
    return torch.stack(changed, 1)  # [map pixels, columns]


def small_tiling(network: PyramidFlow, size: tuple[int, int], rows: int, columns: int) -> Tiling:
    reach = map_reach(network.architecture)
    axes = [cut(reach, n, count) for n, count in zip(size, (rows, columns), strict=True)]
    assert axes[0] is not None
    assert axes[1] is not None
    return Tiling(axes[0], axes[1])


def tiled_runtime(
    network: PyramidFlow, comparison: Comparison, size: tuple[int, int, int], tiling: Tiling
) -> TiledRuntime:
    subject = trained(network, comparison)
    plan = make_plan(*demand(subject, (1, *tiling.size), is_part=True))
    return TiledRuntime(subject, size, plan.in_tiles(tiling))
