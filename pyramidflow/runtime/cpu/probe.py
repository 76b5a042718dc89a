"""Measures on this machine what the parts of a convolution cost, in a fraction of a second.

A few small convolutions run on one thread by the compiled kernels. What each part costs is then
what explains their times best: with ``w_ij`` the milliseconds that part ``j`` of convolution ``i``
takes nominally and ``t_i`` the measured ones, the factors ``x`` minimise

``Σ_i (Σ_j w_ij x_j / t_i − 1)² + λ Σ_j (x_j / s − 1)²``,

``s`` being the machine's speed as a whole. The second term decides on a part that no convolution
shows well; a factor is at most :data:`SPREAD` times ``s``, either way.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from pyramidflow.interrupt import checkpoint
from pyramidflow.ops.convolution.methods import (
    DIRECT_CALL,
    NOMINAL,
    SPECTRAL_CALL,
    TILES,
    Convolution,
    Costs,
    Method,
    Work,
    methods,
)
from pyramidflow.ops.convolution.spectral import PreparedConvolution, source
from pyramidflow.ops.libraries.cpu import has_bfloat16

KERNEL = 3
"""Of the convolutions: every tile has it."""

CHANNELS = (16, 64)
"""Of a convolution that mostly transforms, and of one that mostly multiplies."""

COLD = (24, 96)
"""Tile and channels of a convolution whose weights are longer than the last cache holds for it."""

PIXELS = 1 << 14
"""Of the tiles of a convolution together, as transformed."""

ROUNDS = 4
"""Runs, of which the fastest counts: whatever else the machine does only adds to a time."""

FINE_CLOCK = 1e-5
"""Seconds: a clock of the thread's own processor time that is coarser is not used."""

FLUSH_BYTES = 64 << 20
"""Written between two runs whose weights are to come from memory."""

RIDGE = 0.03
"""``λ``: what a part's factor weighs beside a convolution's time."""

SPREAD = 6.0
"""Largest ratio of a part's factor to the machine's."""


def measure() -> Costs:
    """What the parts of a convolution cost on this machine.

    Raises:
        LibraryError: the compiled library does not load.
        MemoryError: there is no memory for the probe.
    """
    with torch.inference_mode(), _one_thread():
        subjects = list(_subjects())
        made = [_prepared(shape, method) for shape, method, _ in subjects]
        times = [float("inf")] * len(subjects)
        for _ in range(ROUNDS):  # a slow moment of the machine spoils one round of each
            for index, ((run, _), (_, method, is_cold)) in enumerate(
                zip(made, subjects, strict=True)
            ):
                checkpoint()
                if is_cold:
                    _flush()
                times[index] = min(times[index], _milliseconds(run) - _overhead(method))
    parts = np.array([_nominal_parts(method.work) for _, method, _ in subjects])
    costs = _scaled(_factors(parts, np.maximum(times, 1e-4)))
    rates = [rate for _, rate in made if rate is not None]
    return replace(costs, prepared_bytes=float(np.median(rates)))


def _subjects() -> Iterator[tuple[Convolution, Method, bool]]:
    """Shape and method of each convolution, and whether its weights come from memory."""
    for channels in CHANNELS:
        for tile in TILES:
            shape = _shape(tile, channels)
            yield shape, _method(shape, tile), False
    shape = _shape(*COLD)
    yield shape, _method(shape, COLD[0]), True
    shape = _shape(TILES[2], CHANNELS[1])
    yield shape, _method(shape, 0), False
    if has_bfloat16():
        yield shape, _method(shape, TILES[2], bfloat16=True), False


def _shape(tile: int, channels: int) -> Convolution:
    side = tile - KERNEL + 1
    across = max(2, round((PIXELS / tile**2) ** 0.5))
    return Convolution(1, channels, channels, side * across, side * across, KERNEL)


def _method(shape: Convolution, tile: int, *, bfloat16: bool = False) -> Method:
    return next(m for m in methods(shape, bfloat16) if m.tile == tile)


def _prepared(shape: Convolution, method: Method) -> tuple[Callable[[], object], float | None]:
    """What runs the convolution, and bytes of weights that were made in a millisecond."""
    size = (1, shape.in_channels, shape.height, shape.width)
    x = torch.ones(size).contiguous(memory_format=torch.channels_last)
    weight = torch.ones(shape.out_channels, shape.in_channels, KERNEL, KERNEL)
    if method.tile == 0:
        return lambda: functional.conv2d(x, weight, padding=KERNEL // 2), None
    now = _clock()
    start = now()
    prepared = PreparedConvolution(shape, method, weight)
    rate = method.weight_bytes / (1e3 * (now() - start))
    y, workspace = torch.empty_like(x), torch.empty(prepared.workspace_size)
    pixels = source(x)
    # The image lives as long as what reads it.
    return lambda image=x: prepared.run((pixels,), y, workspace), rate


def _milliseconds(run: Callable[[], object]) -> float:
    now = _clock()
    start = now()
    run()
    return 1e3 * (now() - start)


def _clock() -> Callable[[], float]:
    """Seconds of processor time of this thread, which what else runs does not add to."""
    is_fine = time.get_clock_info("thread_time").resolution <= FINE_CLOCK
    return time.thread_time if is_fine else time.perf_counter


def _flush() -> Tensor:
    return torch.ones(FLUSH_BYTES, dtype=torch.uint8)


def _overhead(method: Method) -> float:
    return SPECTRAL_CALL if method.tile else DIRECT_CALL


Numbers = npt.NDArray[np.float64]

_RATES = ("direct_macs", "product_macs", "rounded_macs", "weight_bytes", "shared_weight_bytes")
"""Parts whose costs are given as amounts in a millisecond; the transforms are those left."""


def _nominal_parts(work: Work) -> list[float]:
    """Nominal milliseconds of each part: the rates, then a tile's transforms each."""
    rates = [getattr(work, name) / getattr(NOMINAL, name) for name in _RATES]
    transforms = [
        work.transforms * cost if tile == work.tile else 0.0
        for tile, cost in zip(TILES, NOMINAL.transforms, strict=True)
    ]
    return [*rates, *transforms]


def _factors(parts: Numbers, times: Numbers) -> Numbers:
    """How many times as long as nominally each part takes."""
    speed = float(np.median(times / parts.sum(1)))
    ridge = np.sqrt(RIDGE) * np.eye(parts.shape[1]) / speed
    left = np.concatenate([parts / times[:, None], ridge])
    right = np.concatenate([np.ones(len(times)), np.full(parts.shape[1], np.sqrt(RIDGE))])
    found = np.linalg.lstsq(left, right, rcond=None)[0]
    limited: Numbers = np.clip(found, speed / SPREAD, speed * SPREAD)
    return limited


def _scaled(factors: Numbers) -> Costs:
    rates = {
        name: getattr(NOMINAL, name) / float(factor)
        for name, factor in zip(_RATES, factors, strict=False)
    }
    own = zip(NOMINAL.transforms, factors[len(_RATES) :], strict=True)
    return replace(NOMINAL, **rates, transforms=tuple(cost * float(x) for cost, x in own))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
