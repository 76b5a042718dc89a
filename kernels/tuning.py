"""Block sizes to try, and which of them fit a shape.

Triton times every configuration it is given, once per shape. Most of them waste lanes on a given
shape, so each kernel's list is cut to a few before anything runs; the first one left is the
default, used where nothing can be timed (in the interpreter, and ahead of time).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import triton

KEPT = 4
"""Configurations that are timed for one shape."""

PROGRAMS = 512
"""Programs for each sample below which a device is taken to starve."""


@triton.jit
def _probe() -> None:
    pass


INTERPRETED = not isinstance(_probe, triton.JITFunction)
"""Whether kernels run in Triton's interpreter (``TRITON_INTERPRET=1``)."""


def _untimed(call: Callable[[], object], quantiles: tuple[float, ...]) -> list[float]:
    return [0.0 for _ in quantiles]


autotune = partial(triton.autotune, do_bench=_untimed) if INTERPRETED else triton.autotune
"""``triton.autotune``; up to 3.6 it would ask a driver for the time in the interpreter, too."""

Extents = Callable[[Mapping[str, Any]], dict[str, int]]
"""From a launch's arguments to the extent that each block size covers."""


def covered(extent: int, block: int) -> int:
    """Lanes that blocks of this size spend on an extent."""
    return -(-extent // block) * block


def configurations(
    shapes: list[dict[str, int]], warps: tuple[int, ...] = (4,), stages: tuple[int, ...] = (1,)
) -> list[triton.Config]:
    """Every shape of block with every number of warps and pipeline stages."""
    return [
        triton.Config(blocks, num_warps=num_warps, num_stages=num_stages)
        for blocks in shapes
        for num_warps in warps
        for num_stages in stages
    ]


def pruner(extents: Extents, grid: tuple[str, ...]) -> dict[str, Any]:
    """Rule that keeps the configurations which spend the fewest lanes on a shape.

    One that spends more than twice the fewest is not kept at all. Ties go to those that make enough
    programs, then to runs of 32 along the channels where these are contiguous (channels-last), else
    to runs of 128 along the pixels, then to smaller blocks.

    Args:
        extents: what each block size covers.
        grid: block sizes that divide the work among programs; the others divide it in time.
    """

    def prune(
        configs: list[triton.Config], arguments: Mapping[str, Any], **_: Any
    ) -> list[triton.Config]:
        sizes = extents(arguments)
        channels = arguments["sizes"][0]
        channels_last = arguments["strides"][0][1] == 1 and channels > 1
        pixels = "BLOCK_W" if "BLOCK_W" in sizes else "BLOCK_P"
        axis, wanted = ("BLOCK_C", min(32, channels)) if channels_last else (pixels, 128)

        def cost(config: triton.Config) -> tuple[int, float, float, int]:
            blocks = config.kwargs
            lanes = math.prod(covered(extent, blocks[name]) for name, extent in sizes.items())
            programs = math.prod(-(-sizes[name] // blocks[name]) for name in grid)
            missing = max(0.0, math.log2(PROGRAMS / programs))
            off = abs(math.log2(blocks.get(axis, wanted) / wanted))
            return lanes, missing, off, math.prod(blocks.values())

        ranked = sorted(configs, key=cost)
        fewest = cost(ranked[0])[0]
        kept = [config for config in ranked if cost(config)[0] <= 2 * fewest]
        return kept[: 1 if INTERPRETED else KEPT]

    return {"early_config_prune": prune}
