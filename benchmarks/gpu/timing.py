"""Times on a device: CUDA events from an empty cache, and the same with a clock on the CPU."""

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from pyramidflow.ops.dispatch import OPERATIONS, steps

FAMILIES = ("anomaly_map", "conv1x1", "convolution", "coupling", "normalize", "pyramid")

FLUSHED_BYTES = 256 << 20
"""Written before each run: four times the largest cache of a GPU so far."""

AHEAD_CYCLES = 2_000_000
"""For about a millisecond the device waits before each run, while the host launches it all."""

LEAST_ROUNDS, MOST_ROUNDS = 5, 50


@contextmanager
def plain_operations() -> Iterator[None]:
    """The operations as plain PyTorch functions, which ``torch.compile`` sees through.

    A registered operation is one opaque step to the compiler, whatever backend computes it.
    """
    plain = SimpleNamespace(**{name: getattr(steps("reference"), name) for name in OPERATIONS})
    with ExitStack() as patches:
        for family in FAMILIES:
            module = importlib.import_module(f"pyramidflow.ops.{family}")
            patches.enter_context(mock.patch.object(module, "NAMESPACE_OPS", plain))
        yield


def milliseconds(run: Callable[[], object], device: str, seconds: float) -> dict[str, Any]:
    """Time of a call on the device, without what the host needs to launch it.

    Args:
        run: the call.
        device: ``"cuda"``; ``"cpu"`` takes a clock.
        seconds: that the rounds may take, apart from the first runs and the least rounds.

    Returns:
        Median, least and largest milliseconds, and their number.
    """
    once = _timed(run, device)  # compiles and tunes
    once = _timed(run, device)
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(seconds / (1e-3 * once + 2e-3))))
    if device == "cpu":
        rounds = 2
    times = [_timed(run, device) for _ in range(rounds)]
    return {
        "milliseconds": statistics.median(times),
        "range": [min(times), max(times)],
        "rounds": rounds,
    }


def _timed(run: Callable[[], object], device: str) -> float:
    if device == "cpu":
        start_seconds = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start_seconds)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    _flush_memory().zero_()
    torch.cuda._sleep(AHEAD_CYCLES)
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


@cache
def _flush_memory() -> Tensor:
    return torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device="cuda")


@contextmanager
def peak_memory(device: str) -> Iterator[dict[str, int]]:
    """Bytes on the device at their peak within the context, beyond those before; 0 on the CPU."""
    found = {"peak bytes": 0}
    if device == "cpu":
        yield found
        return
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    yield found
    torch.cuda.synchronize()
    found["peak bytes"] = torch.cuda.max_memory_allocated() - before


def difference(found: Tensor, expected: Tensor, least: float = 0.0) -> float:
    """``‖found − expected‖ / ‖expected‖`` in float64; infinite where a number is not finite.

    Args:
        found: on any device.
        expected: likewise.
        least: what the error is divided by at least.
    """
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    if found.shape != expected.shape or not bool(found.isfinite().all()):
        return torch.inf
    return float((found - expected).norm() / expected.norm().clamp_min(max(least, 1e-300)))
